"""What the tests of retention share: inputs of a seed, masks without symmetry, and the loops' answer for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels import Exponentials
from retconv.masks import DecayMask, Forms, MaskLike
from retconv.retention import retention
from tests import naive
from tests.compare import assert_close
from tests.retention import naive as naive_retention
from tests.strategies import HEADS, kernel_of, normal, uniform

BATCH, KEY, VALUE = 2, 3, 4
#: The figure that the issue names: all forms agree to 1e-11 in float64.
AGREE = 1e-11


def inputs(size: int, seed: int, dtype: torch.dtype = torch.float64, d: int = KEY, e: int = VALUE) -> list[Tensor]:
    """q, k and v of two batch elements and two heads."""
    return [normal(seed + i, BATCH, HEADS, size, c, dtype=dtype) for i, c in enumerate((d, d, e))]


def by_loops(q: Tensor, k: Tensor, v: Tensor, weights: list[Callable[[int, int], float]], scale: float) -> Tensor:
    """The double loop for each element of the batch and each head."""
    result = [
        [
            naive_retention.retention(q[b, h].tolist(), k[b, h].tolist(), v[b, h].tolist(), weight, scale)
            for h, weight in enumerate(weights)
        ]
        for b in range(len(q))
    ]
    return torch.tensor(result, dtype=torch.float64)


def table(kernel: Tensor, shape: tuple[int, ...]) -> list[Callable[[int, int], float]]:
    """For each head what query n and key m weigh, read off the kernel by loops."""
    masks = [naive.mask_of_kernel(head.flatten().tolist(), shape) for head in kernel.double()]
    return [lambda n, m, rows=rows: rows[n][m] for rows in masks]


def complex_uniform(seed: int, *size: int, largest: float = 1.0) -> Tensor:
    """Complex numbers in the disc of that radius."""
    return torch.polar(uniform(seed, 0, largest, *size), uniform(seed + 1, -math.pi, math.pi, *size))


def two_sided(seed: int) -> Exponentials:
    """Different poles and orders on the two sides: nothing about it is symmetric."""
    past, future = (HEADS, 3), (HEADS, 2)
    return Exponentials(
        complex_uniform(seed, *past),
        complex_uniform(seed + 2, *past),
        complex_uniform(seed + 4, *future),
        complex_uniform(seed + 6, *future),
    )


def check_against_loops(shape: tuple[int, ...], seed: int, method: str, dtype: torch.dtype) -> None:
    """An asymmetric kernel where the method takes any, else an asymmetric sum of exponentials or a decay."""
    grid = Grid(shape)
    mask: MaskLike = kernel_of(shape, seed, dtype)
    if method in ("recurrent", "chunkwise"):
        mask = Exponentials(complex_uniform(seed, HEADS, 3), complex_uniform(seed + 2, HEADS, 3))
    elif method == "scan":
        mask = two_sided(seed) if grid.ndim == 1 else DecayMask(HEADS, gamma=uniform(seed, 0.1, 0.99, HEADS)).to(dtype)
    q, k, v = inputs(grid.size, seed, dtype)
    actual = retention(q, k, v, mask, grid, method=method, chunk=3, budget=1, scale=0.7)
    expected = by_loops(q, k, v, table(Forms.of(mask, grid).kernel.detach(), shape), 0.7)
    assert actual.dtype == dtype
    assert_close(actual.detach(), expected)


def even_kernel(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Even along the last axis and under reversal of all others together, to the bit."""
    kernel = kernel_of(shape, seed, dtype)
    kernel = kernel + kernel.flip(-1)
    return kernel + kernel.flip(tuple(range(1, kernel.ndim - 1)))
