"""What the families share: the grids of their verdicts, seeded numbers, and the mask of a bias."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.masks import Forms

LINE, PLANE, TORUS = Grid(64), Grid((8, 8)), Grid((8, 8), periodic=True)


def normal(seed: int, *size: int) -> Tensor:
    """Standard normal numbers of a seed, float64: what stands for parameters that are learnt."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def offsets(grid: Grid) -> Tensor:
    """The grid's offsets, in float64 so that closed forms without parameters are."""
    return grid.offsets().double()


def causal(log: Tensor, grid: Grid) -> Tensor:
    """A bias on a line with the keys after the query hidden."""
    return log.masked_fill(grid.offsets()[..., 0] > 0, -torch.inf)


def seen(mask: Tensor, grid: Grid) -> Forms:
    """A mask of ones and zeros, with its logarithm of zeros and −∞."""
    return Forms.of_log(torch.zeros(mask.shape, dtype=torch.float64).masked_fill(mask == 0, -torch.inf), grid)
