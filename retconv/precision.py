"""Precision: the one rule under autocast, the two steps by which every public operation keeps it, and what pays.

**The rule.** Inside ``torch.autocast`` an operation that multiplies matrices of tokens (``operator @ x``, retention in
every form and state, RetNet's layer, attention in every placement and backend) reads its floating inputs in autocast's
dtype, as torch's ``matmul`` and ``scaled_dot_product_attention`` do, leaves float64 as it is, and returns that dtype
whichever method runs. Sums and softmax within it are float32 at least. Masks, kernels, conversions and approximations
are what they are without autocast, bit for bit, and gradients have the dtype of what they belong to.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache

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


#: By how much products of a half type must be faster than those of float32 to be taken on a CPU, and of which size.
_WORTH, _SIDE = 1.2, 256


def pays(half: torch.dtype, device: torch.device) -> bool:
    """Whether a device multiplies matrices of a half type faster than those of float32."""
    if device.type == "cuda":
        return half == torch.float16 or torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _pays_here(half)


@cache
def _pays_here(half: torch.dtype) -> bool:
    """Measured, since a processor's name does not tell: without units for it, a half type is up to 100 times slower."""
    return _seconds(torch.float32) / _seconds(half) >= _WORTH


def _seconds(dtype: torch.dtype) -> float:
    a = torch.ones(_SIDE, _SIDE, dtype=dtype)
    times = []
    for _ in range(4):  # the first one prepares the library
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return min(times[1:])
