"""Crop and zero-extend a kernel from one grid to another: offset 0 stays in the centre."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import check_real, require_tensors


def crop(kernel: Tensor, grid: GridLike) -> Tensor:
    """Keep the offsets that occur on a smaller grid.

    Args:
        kernel: ``(heads, odd, …)`` of any grid at least as large along every axis.
        grid: The smaller grid.

    Returns:
        ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, bit-exact copies.

    Raises:
        ValueError: If the kernel is not real, has other axes, an even side, or a side smaller than the grid needs, or
            the grid is periodic.

    Example:
        >>> crop(torch.arange(5.0)[None], 2).tolist()  # from offsets −2 to 2 to −1 to 1
        [[1.0, 2.0, 3.0]]
    """
    grid = Grid.of(grid)
    margins = _margins(kernel, grid)
    if any(m < 0 for m in margins):
        raise ValueError(
            f"crop: kernel sides {tuple(kernel.shape[1:])} are smaller than {grid.kernel_shape} of {grid}: "
            "use retconv.extend"
        )
    return _pad(kernel, margins)


def extend(kernel: Tensor, grid: GridLike) -> Tensor:
    """Fill with 0 the offsets that only a larger grid has, as a convolution kernel is 0 beyond its support.

    Args:
        kernel: ``(heads, odd, …)`` of any grid at most as large along every axis.
        grid: The larger grid.

    Returns:
        ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``.

    Raises:
        ValueError: If the kernel is not real, has other axes, an even side, or a side larger than the grid's kernel, or
            the grid is periodic.

    Example:
        >>> extend(torch.ones(1, 3), 3).tolist()  # from offsets −1 to 1 to −2 to 2
        [[0.0, 1.0, 1.0, 1.0, 0.0]]
    """
    grid = Grid.of(grid)
    margins = _margins(kernel, grid)
    if any(m > 0 for m in margins):
        raise ValueError(
            f"extend: kernel sides {tuple(kernel.shape[1:])} are larger than {grid.kernel_shape} of {grid}: "
            "use retconv.crop"
        )
    return _pad(kernel, margins)


def resize(kernel: Tensor, grid: GridLike) -> Tensor:
    """Crop the axes that are too long and zero-extend those that are too short.

    Args:
        kernel: ``(heads, odd, …)`` of any grid.
        grid: The grid to bring it to.

    Returns:
        ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``.

    Raises:
        ValueError: If the kernel is not real, or has other axes or an even side, or the grid is periodic.

    Example:
        >>> kernel = torch.ones(1, 3, 5)  # of a 2×3 grid
        >>> resize(kernel, (3, 2)).shape
        torch.Size([1, 5, 3])
    """
    grid = Grid.of(grid)
    return _pad(kernel, _margins(kernel, grid))


def _margins(kernel: Tensor, grid: Grid) -> list[int]:
    grid.require_open("bringing a kernel to another size", "use retconv.wrap, which adds what lies beyond a ring")
    require_tensors(kernel=kernel)
    if kernel.ndim != grid.ndim + 1 or any(side % 2 == 0 for side in kernel.shape[1:]):
        raise ValueError(f"kernel must be (heads, odd, …) with {grid.ndim} odd sides, got shape {tuple(kernel.shape)}")
    check_real(kernel, "kernel")
    return [(side - needed) // 2 for side, needed in zip(kernel.shape[1:], grid.kernel_shape, strict=True)]


def _pad(kernel: Tensor, margins: list[int]) -> Tensor:
    return F.pad(kernel, [-m for m in reversed(margins) for _ in range(2)])
