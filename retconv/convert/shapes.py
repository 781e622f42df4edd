"""Boundary checks that every conversion shares."""

from __future__ import annotations

from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import check_real


def check_kernel(kernel: Tensor, grid: Grid, also: str = "") -> None:
    """Raise a ``ValueError`` unless ``kernel`` is a real floating ``(heads, *grid.kernel_shape)``.

    Args:
        kernel: The kernel.
        grid: The grid.
        also: Ends the message about its shape.
    """
    if tuple(kernel.shape[1:]) != grid.kernel_shape or kernel.ndim != grid.ndim + 1:
        sides = ", ".join(str(side) for side in grid.kernel_shape)
        remedy = "retconv.crop or retconv.extend to bring it to another grid" if grid.is_open else "retconv.wrap"
        raise ValueError(
            f"kernel must be (heads, {sides}) on {grid}, got shape {tuple(kernel.shape)}: use {remedy}{also}"
        )
    _check_floating(kernel, "kernel")


def check_mask(mask: Tensor, grid: Grid) -> None:
    """Raise a ``ValueError`` unless ``mask`` is a real floating ``(heads, length, length)`` of this grid."""
    if mask.ndim != 3 or tuple(mask.shape[1:]) != (grid.length, grid.length):
        raise ValueError(
            f"mask must be (heads, {grid.length}, {grid.length}) on {grid}, got shape {tuple(mask.shape)}"
            + (": add the head axis with mask[None]" if mask.ndim == 2 else "")
        )
    _check_floating(mask, "mask")


def _check_floating(tensor: Tensor, name: str) -> None:
    check_real(tensor, name)
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must have a floating dtype, got {tensor.dtype}: call {name}.float()")
