"""Tables, windows, schedules and sums of outer products: what `kernels` holds beside closed forms."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from retconv import kernels
from retconv.grid import Grid
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, normal, uniform


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@every_grid
def test_relative_table_copies_entries(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """K[δ] = table[δ + c], bit for bit."""
    table = kernel_of(shape, seed, dtype)
    assert_exact(kernels.relative_table(Grid(shape).offsets(), table), table)


def test_relative_table_is_zero_outside() -> None:
    """Offsets beyond the table read 0, on every side of it."""
    table = kernel_of((2, 3), 0)
    larger = kernels.relative_table(Grid((4, 5)).offsets(), table)
    inside = naive.kernel(lambda d: float(abs(d[0]) < 2 and abs(d[1]) < 3), (4, 5))
    assert_exact((larger != 0).double()[0].flatten(), inside)
    assert_exact(larger[:, 2:-2, 2:-2], table)


def test_relative_table_gradient() -> None:
    table = kernel_of((2, 2), 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: kernels.relative_table(Grid((3, 2)).offsets(), t), (table,))


@pytest.mark.parametrize("window", [(1, 1), (1, 4), (3, 2), (4, 4)])
def test_swin_table_is_swin_relative_position_bias(window: tuple[int, int]) -> None:
    """The kernel read at key − query is Swin's bias, which its own code reads at query − key."""
    height, width = window
    table = normal(0, (2 * height - 1) * (2 * width - 1), HEADS)
    kernel = kernels.swin_table(table, window)
    bias = naive.swin_bias(table.tolist(), height, width)
    for head in range(HEADS):
        assert naive.mask_of_kernel(kernel[head].flatten().tolist(), window) == bias[head]


def test_swin_table_gradient() -> None:
    table = normal(1, 9, HEADS).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: kernels.swin_table(t, (2, 2)), (table,))


@pytest.mark.parametrize("radius", [0, 1, 2.5])
@every_grid
def test_window(shape: tuple[int, ...], seed: int, radius: float) -> None:
    """1 where max_d |δ_d| ≤ radius, else 0."""
    actual = kernels.window(Grid(shape).offsets(), radius)
    assert_exact(actual.flatten(), naive.kernel(lambda d: naive.window(d, radius), shape))


def test_window_radius_per_head() -> None:
    actual = kernels.window(Grid(4).offsets(), torch.tensor([1, 2]))
    assert actual.tolist() == [[0, 0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 0]]


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "retnet": lambda h, heads: 1 - 2 ** (-5 - h),
    "retnet_linspace": lambda h, heads: (
        1 - math.exp(math.log(1 / 32) + (math.log(1 / 512) - math.log(1 / 32)) * (h / (heads - 1) if heads > 1 else 0))
    ),
    "rmt": lambda h, heads: 1 - 2 ** (-2 - 4 * h / heads),
}


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule(schedule: str, heads: int) -> None:
    """γ_h is the published formula, in float64."""
    actual = kernels.gammas(schedule, heads)
    assert actual.dtype == torch.float64
    assert_close(actual, [SCHEDULES[schedule](h, heads) for h in range(heads)])


def test_every_schedule_is_tested() -> None:
    assert set(SCHEDULES) == set(kernels.SCHEDULES)


def test_rmt_schedule_takes_its_options() -> None:
    """γ_h = 1 − 2^(−i − r·h/H)."""
    assert_close(kernels.gammas("rmt", 4, initial=1.0, span=3.0), [1 - 2 ** (-1 - 3 * h / 4) for h in range(4)])


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_separable_is_a_sum_of_outer_products(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """K[δ] = Σ_r f_{r,1}[δ_1] · … · f_{r,D}[δ_D]."""
    factors = tuple(normal(seed + d, HEADS, 3, 2 * n - 1, dtype=dtype) for d, n in enumerate(shape))
    separable = kernels.Separable(factors)
    expected: list[Any] = [naive.outer([f[h].tolist() for f in factors], shape) for h in range(HEADS)]
    assert separable.rank == 3
    assert_close(separable.kernel().flatten(1), expected)


@every_grid
def test_a_decay_is_itself_in_every_form(shape: tuple[int, ...], seed: int) -> None:
    """γ^(|a|+|b|) = γ^|a| γ^|b|: kernel, outer product, on a line exponentials, and the logarithm."""
    gamma, grid = uniform(seed, 0.02, 1.0, HEADS), Grid(shape)
    decay = kernels.Decay(gamma)
    assert decay.factors(grid).rank == 1
    expected = kernels.manhattan_decay(grid.offsets(), gamma)
    assert_exact(decay.kernel(grid), expected)
    assert_close(decay.factors(grid).kernel(), expected)
    assert_close(decay.log_kernel(grid).exp(), expected)
    assert_exact(decay.part(slice(1, 2)).kernel(grid), expected[1:2])
    if grid.ndim == 1:
        assert_close(decay.exponentials().kernel(grid.size), expected)
        causal, past = kernels.Decay(gamma, causal=True), kernels.causal_decay(grid.offsets(), gamma)
        for table in (causal.kernel(grid), causal.exponentials().kernel(grid.size), causal.log_kernel(grid).exp()):
            assert_close(table, past)
