"""What tests of periodic grids share: grids of every mixture of open and periodic axes, and kernels on them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from retconv.grid import Grid
from tests.strategies import HEADS, normal

SHAPES = ((1,), (2,), (4,), (7,), (1, 1), (1, 7), (3, 5), (4, 6), (2, 3, 4))
#: Every one of them with at least one ring.
GRIDS = [
    Grid(shape, periodic=rings)
    for shape in SHAPES
    for rings in itertools.product((True, False), repeat=len(shape))
    if any(rings)
]
TORI = [grid for grid in GRIDS if all(grid.periodic)]

on_rings = pytest.mark.parametrize("grid", GRIDS, ids=str)
on_tori = pytest.mark.parametrize("grid", TORI, ids=str)


def ring_kernel(grid: Grid, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """A kernel of two heads without any symmetry."""
    return normal(seed, HEADS, *grid.kernel_shape, dtype=dtype)


def ring_mask(grid: Grid, seed: int = 0) -> Tensor:
    """A mask of independent entries: no convolution unless N is 1."""
    return normal(seed + 1, HEADS, grid.size, grid.size)
