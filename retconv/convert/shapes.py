"""Boundary checks that every conversion shares."""

from __future__ import annotations

from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import check_real, require_tensor

#: Prefix tokens of known models are at most as many.
REGISTERS = 16


def check_kernel(kernel: Tensor, grid: Grid, also: str = "") -> None:
    """Raise a ``ValueError`` unless ``kernel`` is a real floating ``(heads, *grid.kernel_shape)``.

    Args:
        kernel: The kernel.
        grid: The grid.
        also: Ends the message about its shape.
    """
    require_tensor(kernel, "kernel")
    if tuple(kernel.shape[1:]) != grid.kernel_shape or kernel.ndim != grid.ndim + 1:
        sides = ", ".join(str(side) for side in grid.kernel_shape)
        raise ValueError(
            f"kernel must be (heads, {sides}) on {grid}, got shape {tuple(kernel.shape)}: "
            f"{_kernel_remedy(tuple(kernel.shape), grid)}{also}"
        )
    _check_floating(kernel, "kernel")


def check_mask(mask: Tensor, grid: Grid) -> None:
    """Raise a ``ValueError`` unless ``mask`` is a real floating ``(heads, length, length)`` of this grid."""
    require_tensor(mask, "mask")
    if mask.ndim != 3 or tuple(mask.shape[1:]) != (grid.length, grid.length):
        raise ValueError(
            f"mask must be (heads, {grid.length}, {grid.length}) on {grid}, got shape {tuple(mask.shape)}"
            + _mask_remedy(tuple(mask.shape), grid)
        )
    _check_floating(mask, "mask")


def _kernel_remedy(shape: tuple[int, ...], grid: Grid) -> str:
    """What to do about a kernel of this shape."""
    if shape == grid.kernel_shape:
        return "add the head axis with kernel[None]"
    if len(shape) == 3 and shape[1:] == (grid.length, grid.length):
        return "this is a mask, use retconv.mask_to_kernel(mask, grid)"
    if len(shape) != grid.ndim + 1:
        return f"a grid of {grid.ndim} axes has kernels of {grid.ndim + 1}, heads first"
    return "use retconv.crop or retconv.extend for another grid" if grid.is_open else "use retconv.wrap"


def _mask_remedy(shape: tuple[int, ...], grid: Grid) -> str:
    """What to do about a mask of this shape; nothing where that is not plain."""
    pairs = (grid.length, grid.length)
    if shape[1:] == grid.kernel_shape:
        return ": this is a kernel, use retconv.kernel_to_mask(kernel, grid)"
    if len(shape) == 2:
        return ": add the head axis with mask[None]"
    if len(shape) == 4 and shape[2:] == pairs:
        return ": a mask has no batch axis, use mask[0]" if shape[0] == 1 else ": a mask has no batch axis"
    if len(shape) == 3 and shape[:2] == pairs:
        return ": heads come first, use mask.permute(2, 0, 1)"
    return prefix_remedy(shape[-1], grid)


def prefix_remedy(length: int, grid: Grid) -> str:
    """What to say of so many tokens where a grid has others: those before it, as the class token, are its prefix."""
    prefix = length - grid.size
    # As many as a few registers; a grid of another shape is more likely beyond.
    if prefix == grid.prefix or not 0 <= prefix <= REGISTERS:
        return ""
    if prefix == 0:
        return ": it has no prefix tokens, use grid.without_prefix()"
    right = Grid(grid.shape, prefix=prefix, periodic=grid.periodic)
    return f": a class token or registers stand before the grid, use {right}"


def check_finite(tensor: Tensor, rule: str, remedy: str) -> None:
    """Raise a ``ValueError`` that counts the entries that are not finite and names the first one.

    Args:
        tensor: What is looked at.
        rule: Begins the message.
        remedy: Ends it.
    """
    hidden = ~tensor.detach().isfinite()
    if bool(hidden.any()):
        first = [int(i) for i in hidden.nonzero()[0]]
        raise ValueError(
            f"{rule}, got {int(hidden.sum())} of {tensor.numel()} entries that are not, the first "
            f"{float(tensor.detach()[tuple(first)])} at {first}: {remedy}"
        )


def _check_floating(tensor: Tensor, name: str) -> None:
    check_real(tensor, name)
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must have a floating dtype, got {tensor.dtype}: call {name}.float()")
