"""Precision: the one rule under autocast, the steps by which every public operation keeps it, and units for half types.

**The rule.** Inside ``torch.autocast`` an operation that multiplies matrices of tokens (``operator @ x``, retention in
every form and state, RetNet's layer, attention in every placement and backend) reads its floating inputs in autocast's
dtype, as torch's ``matmul`` and ``scaled_dot_product_attention`` do, leaves float64 as it is, and returns that dtype
whichever method runs. Sums and softmax within it are float32 at least. Masks, kernels, conversions and approximations
are what they are without autocast, bit for bit, and gradients have the dtype of what they belong to.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype of autocast on a device, None where it is off."""
    kind = device.type
    # Tensors without values know no autocast; asking whether a device does would break a compiled graph in torch 2.11.
    return torch.get_autocast_dtype(kind) if kind != "meta" and torch.is_autocast_enabled(kind) else None


def entering(x: Tensor) -> Tensor:
    """An input as a product of matrices reads it: in autocast's dtype if that is on, float64 as it is."""
    dtype = autocast_dtype(x.device)
    return x if dtype is None or not x.is_floating_point() or x.dtype == torch.float64 else x.to(dtype)


def as_written(device: torch.device) -> AbstractContextManager[object]:
    """A region in which every operation computes in the dtype of its inputs, autocast or not."""
    if autocast_dtype(device) is None:
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def has_units(half: torch.dtype, device: torch.device) -> bool:
    """Whether a device has units that multiply matrices of a half type, so that these are faster than float32.

    Without them a CPU emulates such products, up to 100 times slower. It is asked and not measured: the same machine
    computes the same every time.
    """
    if device.type == "cuda":
        return half == torch.float16 or torch.cuda.get_device_capability(device) >= (8, 0)
    name, units = {torch.bfloat16: "bf16", torch.float16: "fp16"}[half], torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(units.get(f"avx512_{name}") or units.get(f"amx_{name}"))
