"""Which precision a device computes products faster in: measured, since a processor's name does not tell."""

from __future__ import annotations

import time
from functools import cache

import torch

#: By how much bfloat16 must be faster than float32 to be taken.
_WORTH = 1.2
_SIDE = 256


def chosen(precision: str, device: torch.device) -> str:
    """``"bfloat16"`` or ``"float32"``: what is asked for, or for ``"auto"`` the faster one on that device."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    return _faster()


@cache
def _faster() -> str:
    """On processors without units for bfloat16, products of it are emulated, up to a hundred times slower."""
    single, half = (_seconds(dtype) for dtype in (torch.float32, torch.bfloat16))
    return "bfloat16" if single / half >= _WORTH else "float32"


def _seconds(dtype: torch.dtype) -> float:
    a = torch.ones(_SIDE, _SIDE, dtype=dtype)
    times = []
    for _ in range(4):  # the first one prepares the library
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return min(times[1:])
