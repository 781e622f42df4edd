"""Sums of outer products: what separates is found exactly, and what does not is approximated best."""

import math

import pytest
import torch

from retconv.approximate import exponentials, semiseparable_rank, separate
from retconv.checks import tolerance
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import (
    Separable,
    causal_decay,
    euclidean_decay,
    gaussian,
    gaussian_mixture,
    manhattan_decay,
    two_sided_decay,
)
from retconv.operators import operator
from tests import naive
from tests.approximate import naive as naive_approximate
from tests.compare import assert_close, assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, normal, on_grids, signal_of, uniform

F64 = torch.float64


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_law_8_manhattan_decay_is_one_outer_product(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    kernel = manhattan_decay(Grid(shape).offsets(), uniform(seed, 0.2, 0.95, HEADS, dtype=dtype))
    made = separate(kernel, rank=1)
    assert made.factors.rank == 1
    assert made.kernel.dtype == dtype
    assert_close(made.kernel, kernel)
    assert separate(kernel, tolerance=tolerance(dtype)).rank.tolist() == [1] * HEADS


@on_grids((2, 3))
def test_law_9_mixture_of_gaussians_has_their_number_as_rank(shape: tuple[int, ...], seed: int) -> None:
    """On two axes at most R, on three at most R² by this decomposition."""
    sigma, alpha = uniform(seed, 0.5, 4.0, HEADS, 2), normal(seed, HEADS, 2)
    kernel = gaussian_mixture(Grid(shape).offsets(), sigma, alpha)
    made = separate(kernel, rank=2 if len(shape) == 2 else 4)
    assert_close(made.kernel, kernel)


@every_grid
def test_all_outer_products_together_are_the_kernel(shape: tuple[int, ...], seed: int) -> None:
    kernel = kernel_of(shape, seed)
    assert_close(separate(kernel, rank=10**6).kernel, kernel)
    assert_close(separate(kernel, tolerance=1e-12).kernel, kernel)


@on_grids((2,))
def test_no_sum_of_that_rank_is_nearer(shape: tuple[int, ...], seed: int) -> None:
    """Eckart and Young: the ℓ2 distance is that of the singular values left out, computed by rotations."""
    kernel = kernel_of(shape, seed)
    for rank in (1, 2, 3):
        made = separate(kernel, rank=rank)
        for head, kept in zip(kernel, made.kernel, strict=True):
            values = naive_approximate.singular_values(head.tolist())
            left_out = math.sqrt(math.fsum(v * v for v in values[rank:]))
            assert abs(float((head - kept).norm()) - left_out) <= 1e-12 * values[0]


@on_grids((3,))
def test_three_axes_do_no_worse_with_more_terms_and_terms_are_orthogonal(shape: tuple[int, ...], seed: int) -> None:
    """‖K − K'‖₂² = ‖K‖₂² − ‖K'‖₂²."""
    kernel = kernel_of(shape, seed)
    errors = []
    for rank in (1, 2, 4, 8):
        made = separate(kernel, rank=rank).kernel
        left = kernel.square().flatten(1).sum(dim=1) - made.square().flatten(1).sum(dim=1)
        assert_close((kernel - made).square().flatten(1).sum(dim=1) + 1, left + 1)
        errors.append(left)
    assert bool((torch.stack(errors).diff(dim=0) <= 1e-12).all())


@pytest.mark.parametrize("shape", [(7, 7), (5, 8), (8, 5), (4, 5, 3)])
def test_tolerance_is_kept_by_the_least_rank(shape: tuple[int, ...]) -> None:
    kernel = euclidean_decay(Grid(shape).offsets(), torch.tensor([0.5, 0.9], dtype=F64))
    for bound in (0.1, 1e-2, 1e-4):
        made = separate(kernel, tolerance=bound)
        assert bool((made.relative <= bound).all())
        for h, rank in enumerate(made.rank.tolist()):
            assert rank == 1 or float(separate(kernel[h : h + 1], rank=rank - 1).relative) > bound
            assert_exact(made.factors.factors[0][h, rank:], torch.zeros(made.factors.rank - rank, 2 * shape[0] - 1))


@every_grid
def test_factors_run_as_an_operator(shape: tuple[int, ...], seed: int) -> None:
    """The operator of the factors is the mask of their kernel."""
    made, x = separate(kernel_of(shape, seed), rank=2), signal_of(shape, seed)
    assert_close(operator(made.factors, shape, "separable") @ x, kernel_to_mask(made.kernel, shape) @ x)


def test_a_board_as_retention() -> None:
    """Euclidean decay on 12×10 tokens: separated, then each factor as exponentials; the certificates add up."""
    kernel = euclidean_decay(Grid((12, 10)).offsets(), torch.tensor([0.6, 0.8], dtype=F64))
    outer = separate(kernel, tolerance=1e-2)
    made = exponentials(outer.factors, tolerance=1e-2)
    error = (kernel - made.kernel).abs().flatten(1).sum(dim=1)
    assert bool((error <= outer.certificate + made.certificate).all())
    factors = tuple(e.kernel(n).reshape(HEADS, -1, 2 * n - 1) for e, n in zip(made.axes, (12, 10), strict=True))
    assert_close(Separable(factors).kernel(), made.kernel)


# --- semiseparable rank ---------------------------------------------------------------------------------------------


def test_law_6_retnet_has_semiseparable_rank_one() -> None:
    """Below the diagonal 1, above it 0; two-sided decay has 1 and 1."""
    gamma = torch.tensor([0.5, 0.9, 1 - 2**-10], dtype=F64)
    for closed_form, upper in ((causal_decay, 0), (two_sided_decay, 1)):
        rank = semiseparable_rank(kernel_to_mask(closed_form(Grid(40).offsets(), gamma), 40), 1e-12)
        assert rank.lower.tolist() == [1, 1, 1]
        assert rank.upper.tolist() == [upper] * 3


def test_law_16_gaussian_has_small_semiseparable_rank_by_tolerance() -> None:
    """σ = 5 on 64 tokens: at most one more for each digit, where a dense block could have 32."""
    mask = kernel_to_mask(gaussian(Grid(64).offsets(), torch.tensor([5.0], dtype=F64)), 64)
    ranks = [int(semiseparable_rank(mask, 10.0**-digits).lower) for digits in range(1, 9)]
    assert ranks == sorted(ranks)
    assert ranks[2] <= 4
    assert ranks[-1] <= 8
    assert semiseparable_rank(mask, 1e-3).upper.tolist() == [ranks[2]]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_law_16_exponentials_of_order_r_have_rank_at_most_2r(order: int) -> None:
    """A pole for each conjugate."""
    made = exponentials(gaussian(Grid(40).offsets(), torch.tensor([3.0, 6.0], dtype=F64)), order=order)
    rank = semiseparable_rank(kernel_to_mask(made.kernel, 40), 1e-11)
    assert bool((rank.lower <= 2 * order).all())
    assert bool((rank.lower > order).all())


def test_manhattan_decay_in_raster_order_is_no_single_recurrence() -> None:
    """On 6×6 tokens row by row, a state of one number for each of the 6 columns."""
    gamma = torch.tensor([0.8], dtype=F64)
    mask = kernel_to_mask(manhattan_decay(Grid((6, 6)).offsets(), gamma), (6, 6))
    assert semiseparable_rank(mask, 1e-12).lower.tolist() == [6]


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 4)])
@pytest.mark.parametrize("bound", [0.3, 0.05, 1e-3])
def test_semiseparable_rank_by_rotations(shape: tuple[int, ...], bound: float) -> None:
    kernel = kernel_of(shape, 5) * euclidean_decay(Grid(shape).offsets(), torch.tensor([0.3, 0.7], dtype=F64))
    rank = semiseparable_rank(kernel_to_mask(kernel, shape), bound)
    for h, head in enumerate(kernel):
        expected = naive_approximate.semiseparable_rank(naive.mask_of_kernel(head.flatten().tolist(), shape), bound)
        assert (int(rank.lower[h]), int(rank.upper[h])) == expected
