"""Effective size and truncation: against exact fractions, and closed forms against what is measured."""

import math

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor

from retconv.approximate import decay_effective_size, effective_size, gaussian_effective_size, truncate
from retconv.convert import crop, extend
from retconv.grid import Grid
from retconv.kernels import causal_decay, gaussian, manhattan_decay, two_sided_decay
from tests import naive
from tests.approximate import naive as naive_approximate
from tests.compare import assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, seeds, uniform

TOLERANCES = (0.3, 0.1, 1e-2, 1e-3, 0.0)


def by_offset(kernel: Tensor, shape: tuple[int, ...]) -> list[dict[naive.Position, float]]:
    """Each head's kernel as numbers by offset."""
    return [dict(zip(naive.offsets(shape), head.flatten().tolist(), strict=True)) for head in kernel]


def check_effective_size(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    # Damped, so that different tolerances give different sizes.
    kernel = kernel_of(shape, seed, dtype) * manhattan_decay(Grid(shape).offsets(), uniform(seed, 0.1, 0.6, HEADS))
    kernel = kernel.to(dtype)
    for tolerance in TOLERANCES:
        expected = [naive_approximate.effective_size(head, tolerance) for head in by_offset(kernel, shape)]
        assert effective_size(kernel, tolerance).tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_effective_size_is_the_smallest_sufficient_window(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype
) -> None:
    check_effective_size(shape, seed, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_truncation_zeroes_outside_the_window_and_copies_inside(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype
) -> None:
    kernel = kernel_of(shape, seed, dtype)
    for size in (1, 3, 2 * max(shape) - 1):
        made = truncate(kernel, size=size)
        expected = [list(naive_approximate.truncate(head, size).values()) for head in by_offset(kernel, shape)]
        assert_exact(made.kernel.flatten(1), expected)
        assert made.size.tolist() == [size] * HEADS
    assert_exact(made.kernel, kernel)
    assert made.certificate.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_law_12_tolerance_is_kept_by_the_certificate(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Cut to k(ε), the relative certificate is at most ε; cut to k(ε) − 2 it is above ε."""
    kernel = kernel_of(shape, seed, dtype)
    for tolerance in TOLERANCES:
        made = truncate(kernel, tolerance=tolerance)
        assert bool((made.relative <= tolerance).all())
        smaller = truncate(kernel, size=(made.size - 2).clamp(min=1)).relative
        assert bool(((smaller > tolerance) | (made.size == 1)).all())


@given(st.floats(-320, 307), st.floats(-320, 307), seeds, st.sampled_from((0.3, 0.01, 0.0)))
@example(307.0, 307.0, 0, 0.3)
@example(307.0, -320.0, 0, 0.0)
def test_effective_size_has_every_scale(inner: float, outer: float, seed: int, tolerance: float) -> None:
    """From the smallest numbers to those whose sum is none, beside each other too."""
    kernel = uniform(seed, 1.0, 9.0, 1, 3, 5) * 10.0**outer
    kernel[:, 1, 1:4] = uniform(seed + 1, 1.0, 9.0, 3) * 10.0**inner
    (head,) = by_offset(kernel, (2, 3))
    expected = naive_approximate.effective_size(head, tolerance)
    assert effective_size(kernel, tolerance).tolist() == [expected]
    assert float(truncate(kernel, tolerance=tolerance).relative) <= tolerance


def test_size_per_head_and_the_small_table() -> None:
    kernel = kernel_of((3, 5), 0)
    made = truncate(kernel, size=torch.tensor([1, 5])).kernel
    assert int((made[0] != 0).sum()) == 1
    assert int((made[1] != 0).sum()) == 25
    assert_exact(extend(crop(made, (3, 3)), (3, 5)), made)


def test_truncation_is_differentiable_inside_the_window() -> None:
    kernel = kernel_of((3, 4), 0).requires_grad_()
    assert torch.autograd.gradcheck(lambda k: truncate(k, size=3).kernel, (kernel,))


def test_zero_kernel_has_size_one_and_costs_nothing() -> None:
    made = truncate(torch.zeros(1, 5, 5), tolerance=0.0)
    assert made.size.tolist() == [1]
    assert made.relative.tolist() == [0.0]


def test_wide_uniform_kernel_needs_all_of_its_grid() -> None:
    assert effective_size(torch.ones(1, 9, 3), 0.0).tolist() == [9]


# --- closed forms ---------------------------------------------------------------------------------------------------

gammas = st.floats(0.01, 0.95)
tolerances = st.floats(1e-6, 0.3)


@given(gamma=gammas, tolerance=tolerances)
def test_closed_form_of_decay_on_a_line(gamma: float, tolerance: float) -> None:
    """On 1,024 tokens γ^n is below rounding: the table's size is that of all integers."""
    offset = Grid(1024).offsets()
    # A tie, γ^r = ε, is decided by rounding.
    assume(abs(math.remainder(math.log(tolerance) / math.log(gamma), 1)) > 1e-9)
    for kernel, causal in ((two_sided_decay, False), (causal_decay, True)):
        measured = effective_size(kernel(offset, torch.tensor([gamma], dtype=torch.float64)), tolerance)
        assert_exact(decay_effective_size(gamma, tolerance, causal=causal), measured)


#: γ of few and of all binary digits, and a tolerance that is the part beyond some radius, or a rounding beside it.
ties = st.tuples(
    st.one_of(st.sampled_from((0.5, 0.25, 0.75, 0.125, 0.9, 0.99)), st.floats(0.01, 0.97)),
    st.integers(1, 40),
    st.sampled_from((-1, 0, 1)),
)


@given(ties, st.sampled_from(((1, True), (1, False), (2, False), (3, False))))
@example((0.5, 3, 0), (1, True))
@example((0.9, 7, 0), (1, True))
def test_closed_form_of_decay_at_ties(tie: tuple[float, int, int], form: tuple[int, bool]) -> None:
    """The part beyond a radius, as a float, for a tolerance: exact arithmetic decides, and never one step too small."""
    (gamma, steps, aside), (axes, causal) = tie, form
    part = gamma**steps if causal else 2 * gamma**steps / (1 + gamma)
    tolerance = 1 - (1 - part) ** axes
    tolerance = math.nextafter(tolerance, aside * math.inf) if aside else tolerance
    assume(0 < tolerance < 1)
    expected = naive_approximate.decay_size(gamma, tolerance, axes, causal)
    assert decay_effective_size(gamma, tolerance, axes=axes, causal=causal).tolist() == [expected]


@pytest.mark.parametrize(("axes", "n", "power"), [(2, 96, 1), (3, 24, 4)])
@given(base=st.floats(0.1, 0.6), tolerance=tolerances)
def test_closed_form_of_manhattan_decay(base: float, tolerance: float, axes: int, n: int, power: int) -> None:
    """1 − (1 − t)^D of the mass lies outside a cube, t outside an interval; n is long enough that γ^n vanishes."""
    kernel = manhattan_decay(Grid((n,) * axes).offsets(), torch.tensor([base**power], dtype=torch.float64))
    assert_exact(decay_effective_size(base**power, tolerance, axes=axes), effective_size(kernel, tolerance))


def test_decay_on_a_short_line_is_smaller_than_the_closed_form() -> None:
    """γ = 0.99 on 32 tokens: all 63 offsets, while the integers would need 1,375 for 1e-3."""
    kernel = two_sided_decay(Grid(32).offsets(), torch.tensor([0.99], dtype=torch.float64))
    assert effective_size(kernel, 1e-3).tolist() == [63]
    assert decay_effective_size(0.99, 1e-3).tolist() == [1375]


def gaussian_table(sigma: float, axes: int) -> Tensor:
    n = {1: 256, 2: 64}[axes]
    return gaussian(Grid((n,) * axes).offsets(), torch.tensor([sigma], dtype=torch.float64))


@given(sigma=st.floats(0.05, 9.0), tolerance=st.floats(1e-6, 0.3), axes=st.sampled_from((1, 2)))
def test_closed_form_of_a_gaussian_is_never_too_small_and_at_most_one_step_too_large(
    sigma: float, tolerance: float, axes: int
) -> None:
    closed = int(gaussian_effective_size(sigma, tolerance, axes=axes))
    assert closed - int(effective_size(gaussian_table(sigma, axes), tolerance)) in (0, 2)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
def test_closed_form_of_wide_gaussians_is_exact(tolerance: float) -> None:
    for sigma in (5.0, 6.5, 8.0, 20.0, 30.0):
        assert_exact(gaussian_effective_size(sigma, tolerance), effective_size(gaussian_table(sigma, 1), tolerance))


def test_each_head_has_its_own_size() -> None:
    gamma, sigma = uniform(0, 0.5, 0.9, HEADS), uniform(1, 1.0, 9.0, HEADS)
    for closed, parameter in ((decay_effective_size, gamma), (gaussian_effective_size, sigma)):
        together = closed(parameter, 1e-3)
        assert together.tolist() == [int(closed(float(p), 1e-3)) for p in parameter]
        assert together[0] != together[1]
        assert bool((together % 2 == 1).all())


@given(seed=seeds)
def test_size_falls_as_the_tolerance_grows(seed: int) -> None:
    kernel = kernel_of((5, 4), seed)
    sizes = torch.stack([effective_size(kernel, tolerance) for tolerance in TOLERANCES])
    assert bool((sizes.diff(dim=0) >= 0).all())
