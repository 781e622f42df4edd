"""What mask modules read of a grid to evaluate their closed forms, kept between calls."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.grid import Grid, kept
from retconv.kernels.parameters import compute_dtype


@kept
def distances(grid: Grid, device: torch.device, metric: str) -> Tensor:
    """Of every offset the distance ``"manhattan"``, ``"euclidean"`` or ``"squared"`` (Euclidean, its square).

    Returns:
        ``(2 n_1 − 1, …, 2 n_D − 1)`` in the computing dtype.
    """
    offset = grid.offsets(device).to(compute_dtype(device))
    if metric == "manhattan":
        return offset.abs().sum(dim=-1)
    squared = offset.square().sum(dim=-1)
    return squared if metric == "squared" else squared.sqrt()


@kept
def offsets(grid: Grid, device: torch.device) -> Tensor:
    """Every offset, ``(2 n_1 − 1, …, 2 n_D − 1, D)`` in the computing dtype."""
    return grid.offsets(device).to(compute_dtype(device))


@kept
def past(grid: Grid, device: torch.device) -> Tensor:
    """1 where a key is at or before its query on a line, else 0, ``(2n − 1,)`` in the computing dtype."""
    return (grid.offsets(device)[..., 0] <= 0).to(compute_dtype(device))


@kept
def elsewhere(grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    """0 at offset 0, else 1, ``(2 n_1 − 1, …, 2 n_D − 1)``."""
    return (grid.offsets(device) != 0).any(dim=-1).to(dtype)


@kept
def raster_index(grid: Grid, device: torch.device) -> Tensor:
    """Where a line's kernel ``(2N − 1,)`` has the raster offset ``Σ_d s_d δ_d`` of each offset δ, strides s row-major.

    Returns:
        int64 ``(∏ (2 n_d − 1),)``.
    """
    strides = torch.tensor([1, *reversed(grid.shape[1:])]).cumprod(0).flip(0).to(device)
    return (grid.offsets(device) * strides).sum(dim=-1).flatten() + grid.size - 1
