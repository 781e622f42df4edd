"""Attention from a kernel: by loops, exact where the encoding spans it, and sharp as alpha grows."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from retconv.analysis.effective import effective_kernel
from retconv.grid import Grid
from retconv.heads import attention_from
from retconv.kernels import gaussian
from tests.compare import assert_close
from tests.heads import naive_starts as naive
from tests.strategies import HEADS, every_grid, normal, uniform


def impulses(grid: Grid, offsets: list[tuple[int, ...]]) -> torch.Tensor:
    kernel = torch.zeros(len(offsets), *grid.kernel_shape, dtype=torch.float64)
    for h, offset in enumerate(offsets):
        kernel[(h, *(d + n - 1 for d, n in zip(offset, grid.shape, strict=True)))] = 0.5 + h
    return kernel


@every_grid
def test_law_20_one_offset_by_loops(shape: tuple[int, ...], seed: int) -> None:
    grid = Grid(shape, prefix=1)
    drawn = torch.randint(0, 2**31, (HEADS, len(shape)), generator=torch.Generator().manual_seed(seed))
    offsets = [tuple(int(d) % (2 * n - 1) - n + 1 for d, n in zip(row, shape, strict=True)) for row in drawn]
    heads = attention_from(impulses(grid, offsets), grid, alpha=0.7)
    assert heads.query.shape[1:] == heads.key.shape[1:] == (len(shape) + 2, heads.query.shape[2])
    assert heads.query.shape[2] <= len(shape) + 1
    assert_close(heads.weights, [naive.quadratic(shape, offset, 0.7) for offset in offsets])


@every_grid
def test_law_21_any_positive_kernel_by_loops(shape: tuple[int, ...], seed: int) -> None:
    grid = Grid(shape)
    kernel = uniform(seed, 0.2, 2.0, HEADS, *grid.kernel_shape)
    found = attention_from(kernel, grid)
    offsets = [tuple(offset) for offset in itertools.product(*(range(1 - n, n) for n in shape))]
    expected = [naive.normalised(dict(zip(offsets, k.flatten().tolist(), strict=True)), shape) for k in kernel]
    assert_close(found.target, expected)
    if math.prod(shape) > 1:
        assert bool((found.error <= 1e-11).all())


def test_sharper_is_nearer_and_the_border_attends_to_the_nearest() -> None:
    grid = Grid((4, 5))
    kernel = impulses(grid, [(0, 0), (1, -2), (-1, 0)])
    errors = []
    for alpha in (1.0, 4.0, 16.0):
        found = attention_from(kernel, grid, alpha=alpha)
        errors.append(found.error)
        # The bound of the whole plane: 1 − 1 / Σ_δ exp(−α ‖δ‖²).
        theta = sum(math.exp(-alpha * j * j) for j in range(-9, 10))
        assert bool((found.error <= 1 - theta**-2 + 1e-12).all())
    assert bool((errors[0] > errors[1]).all() & (errors[1] > errors[2]).all())
    # The query (0, 0) looks for (1, −2), which is off the grid; (1, 0) is the nearest.
    assert float(found.weights[1, 0].reshape(4, 5)[1, 0]) > 0.999
    effective = effective_kernel(found.weights[None], grid)
    assert float(effective.explained[0]) > 0.99
    assert [int(k.flatten().argmax()) for k in effective.kernel] == [int(k.flatten().argmax()) for k in kernel]


def test_other_encodings_span_the_channels_or_say_by_how_much_they_miss() -> None:
    grid = Grid((3, 4))
    kernel = gaussian(grid.offsets(), torch.tensor([1.0, 2.0], dtype=torch.float64))
    rich, poor = normal(1, 12, 20), normal(1, 12, 2)
    assert attention_from(kernel, grid, encoding=rich).query.shape == (2, 20, 3)
    assert bool((attention_from(kernel, grid, encoding=rich).error <= 1e-11).all())
    assert bool((attention_from(kernel, grid, encoding=poor).error > 0.05).all())


def test_heads_of_one_offset_and_positive_ones_together() -> None:
    """Each has the weights that it has alone."""
    grid = Grid((3, 4))
    positive = gaussian(grid.offsets(), torch.tensor([1.5], dtype=torch.float64))
    heads = [impulses(grid, [(0, 1)]), positive, impulses(grid, [(-1, 0)])]
    together = attention_from(torch.cat(heads), grid)
    for weights, error, head in zip(together.weights, together.error, heads, strict=True):
        alone = attention_from(head, grid)
        assert_close(weights, alone.weights[0])
        assert float((error - alone.error).abs()) < 1e-12


def test_no_heads_have_weights_of_none() -> None:
    attention = attention_from(torch.zeros(0, 5, 3), (3, 2))
    assert attention.query.shape[0] == attention.key.shape[0] == 0
    assert attention.target.shape == (0, 6, 6)


def test_gradients_are_not_taken_and_nothing_is_changed() -> None:
    kernel = uniform(1, 0.2, 2.0, 1, 5, 5).requires_grad_()
    assert not attention_from(kernel, (3, 3)).query.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_float64(dtype: torch.dtype) -> None:
    found = attention_from(impulses(Grid((3, 3)), [(1, 0)]).to(dtype), (3, 3))
    assert {found.query.dtype, found.key.dtype, found.encoding.dtype, found.error.dtype} == {torch.float64}
