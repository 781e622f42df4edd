"""Boundary checks that all approximations share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.kernels.parameters import check_real, require_tensor


def check_table(kernel: Tensor, name: str) -> None:
    """Raise an error unless ``kernel`` is a real, finite ``(heads ≥ 1, odd, …)`` with one to three odd sides."""
    require_tensor(kernel, "kernel")
    if not 2 <= kernel.ndim <= 4 or any(side % 2 == 0 for side in kernel.shape[1:]):
        raise ValueError(
            f"{name}: kernel must be (heads, 2 n_1 − 1, …) with one to three odd sides, got shape "
            f"{tuple(kernel.shape)}" + (": add the head axis with kernel[None]" if kernel.ndim == 1 else "")
        )
    if not len(kernel):
        raise ValueError(f"{name}: kernel has no heads: there is nothing to approximate")
    check_real(kernel, f"{name}: kernel")
    if not kernel.is_floating_point():
        raise ValueError(f"{name}: kernel must have a real floating dtype, got {kernel.dtype}: call kernel.float()")
    if not bool(torch.isfinite(kernel).all()):
        raise ValueError(
            f"{name}: kernel must be finite, got {int((~torch.isfinite(kernel)).sum())} entries that are not: an "
            "additive mask with −inf has a kernel to approximate only after exp"
        )


def check_tolerance(tolerance: float, name: str, of: str = "‖K‖₁") -> None:
    """Raise a ``ValueError`` unless a tolerance relative to a norm lies in [0, 1)."""
    if not (0 <= tolerance < 1) or math.isnan(tolerance):
        raise ValueError(f"{name}: tolerance is a fraction of {of} and must lie in [0, 1), got {tolerance:g}")


def check_choice(name: str, what: str, value: object, tolerance: float | None) -> None:
    """Raise a ``ValueError`` unless exactly one of a number (size, rank, order) and a tolerance is given."""
    if (value is None) == (tolerance is None):
        raise ValueError(f"{name}: give either {what} or tolerance, got {what}={value} and tolerance={tolerance}")
    if tolerance is not None:
        check_tolerance(tolerance, name)


def check_count(name: str, what: str, value: int) -> None:
    """Raise a ``ValueError`` unless a number of terms is a positive int."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: {what} must be a positive int, got {value!r}")
