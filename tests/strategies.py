"""What the tests draw: grids, and kernels, masks and signals of two heads that differ.

Data come from a drawn seed, so that a failing example names everything it needs: a shape and a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

HEADS = 2
DTYPES = (torch.float64, torch.float32)

#: One token, lines, rows and columns, both orientations of an oblong, a square, and a box of three unequal sides.
SHAPES = ((1,), (7,), (1, 1), (1, 7), (3, 5), (5, 3), (4, 4), (2, 3, 4))

seeds = st.integers(0, 2**32 - 1)


def shapes(axes: tuple[int, ...] = (1, 2, 3)) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of at most 25 tokens with one of the given numbers of axes."""
    longest = {1: 12, 2: 5, 3: 4}
    sides = st.sampled_from(axes).flatmap(lambda d: st.tuples(*[st.integers(1, longest[d])] * d))
    return sides.filter(lambda shape: math.prod(shape) <= 25)


def on_grids(axes: tuple[int, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run a test of ``(shape, seed)`` on every listed shape with that many axes, then on drawn ones."""

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        for i, shape in enumerate(shape for shape in SHAPES if len(shape) in axes):
            test = example(shape=shape, seed=i)(test)
        return given(shape=shapes(axes), seed=seeds)(test)

    return decorate


every_grid = on_grids((1, 2, 3))


def normal(seed: int, *size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers of a seed, the same in every dtype up to rounding."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def uniform(seed: int, low: float, high: float, *size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Uniform numbers of a seed in [low, high): heads differ with probability 1."""
    unit = torch.rand(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (low + (high - low) * unit).to(dtype)


def kernel_of(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64, heads: int = HEADS) -> Tensor:
    """A kernel ``(heads, 2n − 1, …)`` without any symmetry."""
    return normal(seed, heads, *(2 * n - 1 for n in shape), dtype=dtype)


def mask_of(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64, heads: int = HEADS) -> Tensor:
    """A mask ``(heads, N, N)`` of independent entries: no convolution unless N is 1."""
    return normal(seed + 1, heads, math.prod(shape), math.prod(shape), dtype=dtype)


def signal_of(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64, heads: int = HEADS, channels: int = 3
) -> Tensor:
    """A signal ``(heads, N, channels)``."""
    return normal(seed + 2, heads, math.prod(shape), channels, dtype=dtype)
