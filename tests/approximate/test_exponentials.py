"""Law 16: any 1-D kernel is nearly a RetNet, and the certificate says how nearly."""

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from torch import Tensor

from retconv.approximate import exponentials
from retconv.checks import tolerance
from retconv.grid import Grid
from retconv.kernels import (
    Decay,
    Exponentials,
    Separable,
    causal_decay,
    gaussian,
    gaussian_mixture,
    manhattan_decay,
    two_sided_decay,
)
from retconv.masks import GaussianMixtureMask
from tests.approximate import naive as naive_approximate
from tests.compare import assert_close, assert_exact
from tests.strategies import DTYPES, HEADS, kernel_of, normal, seeds, uniform

F64 = torch.float64
LINE = Grid(64).offsets()


def f64(numbers: object) -> Tensor:
    return torch.tensor(numbers, dtype=F64)


def norm(kernel: Tensor) -> Tensor:
    return kernel.double().abs().flatten(1).sum(dim=1)


def test_law_16_gaussian_of_sigma_5_in_four_pairs() -> None:
    """At most 4 conjugate pairs with certified relative ℓ1 error at most 1e-3."""
    made = exponentials(gaussian(LINE, f64([5.0])), tolerance=1e-3)
    assert int(made.order) <= 4
    assert float(made.relative) <= 1e-3
    poles = made.exponentials.past_poles
    assert bool((poles.abs() < 1).all())
    assert bool((poles.imag > 0).all())


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0, 5.0, 12.0])
def test_law_16_each_order_gains_a_digit_or_more_on_a_gaussian(sigma: float) -> None:
    """The certificate falls with the order, down to rounding; σ = 12 on 64 tokens is cut off at its end."""
    kernel = gaussian(Grid(64).offsets(), f64([sigma]))
    errors = [float(exponentials(kernel, order=order).relative) for order in (1, 2, 3, 4)]
    for larger, smaller in itertools.pairwise(errors):
        assert smaller <= max(larger / 10, 1e-12)
    assert errors[-1] <= 1e-6


def test_law_16_a_decay_is_one_exponential() -> None:
    """RetNet is its own approximation of order 1: γ, up to 1 − 1e-6, with weight 1."""
    gamma = f64([0.01, 0.9, 1 - 2**-12, 1 - 1e-6])
    for closed_form, causal in ((causal_decay, True), (two_sided_decay, False)):
        made = exponentials(closed_form(LINE, gamma), order=1)
        assert made.exponentials.causal is causal
        assert_close(made.exponentials.past_poles[:, 0].real, gamma)
        assert_exact(made.exponentials.past_poles.imag, torch.zeros(4, 1))
        assert_close(made.kernel, closed_form(LINE, gamma))


def planted(seed: int, n: int) -> tuple[Exponentials, Tensor]:
    """Three terms a side, two pairs and a real pole well apart, that differ between heads and sides."""
    size = uniform(seed, 0.75, 0.95, 2 * HEADS, 3)
    angle = torch.tensor([0.0, 0.7, 2.0], dtype=F64) + uniform(seed + 1, 0.0, 0.4, 2 * HEADS, 3)
    angle[:, 0] = 0
    poles = torch.polar(size, angle).reshape(2, HEADS, 3)
    weights = torch.complex(1 + uniform(seed + 2, 0.0, 1.0, 2 * HEADS, 3), normal(seed + 3, 2 * HEADS, 3))
    weights[:, 0] = weights[:, 0].real + 0j
    weights = weights.reshape(2, HEADS, 3)
    made = Exponentials(weights[0], poles[0], weights[1], poles[1])
    return made, made.kernel(n)


@settings(max_examples=10)
@given(seed=seeds)
@example(seed=509)  # where a real pole and a pair at angle 5e-10 both fit to rounding
def test_planted_exponentials_are_recovered(seed: int) -> None:
    """Poles and weights of both sides, in order of their modulus."""
    source, kernel = planted(seed, 40)
    made = exponentials(kernel, order=3)
    assert float(made.relative.max()) < 1e-12
    for side in ("past", "future"):
        poles, weights = getattr(source, f"{side}_poles"), getattr(source, f"{side}_weights")
        order = poles.abs().argsort(dim=1, descending=True)
        found = getattr(made.exponentials, f"{side}_poles")
        assert float((found - poles.gather(1, order)).abs().max()) < 1e-9
        assert float((getattr(made.exponentials, f"{side}_weights") - weights.gather(1, order)).abs().max()) < 1e-8


@settings(max_examples=10)
@given(seed=seeds)
def test_tolerance_finds_the_planted_order(seed: int) -> None:
    _, kernel = planted(seed, 40)
    assert exponentials(kernel, tolerance=1e-9).order.tolist() == [3] * HEADS


def check_kernel_is_that_of_the_terms(n: int, seed: int, dtype: torch.dtype) -> None:
    kernel = kernel_of((n,), seed, dtype)
    made = exponentials(kernel, order=2)
    assert made.kernel.dtype == dtype
    e = made.exponentials
    assert e.future_weights is not None
    assert e.future_poles is not None
    for h in range(HEADS):
        past = list(zip(e.past_weights[h].tolist(), e.past_poles[h].tolist(), strict=True))
        future = list(zip(e.future_weights[h].tolist(), e.future_poles[h].tolist(), strict=True))
        expected = torch.tensor(naive_approximate.exponential_sum(past, future, n), dtype=F64)
        # Weights may cancel: rounding is relative to them, not to the kernel.
        scale = sum(abs(w) for w, _ in past) + sum(abs(w * p) for w, p in future)
        assert float((made.kernel[h].double() - expected).abs().max()) <= tolerance(dtype) * scale
    error = (kernel.double() - made.kernel.double()).abs().sum(dim=1)
    assert_close(made.certificate, error, F64)
    assert_close(made.relative, error / norm(kernel), F64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 7, 12])
@settings(max_examples=4)
@given(seed=seeds)
def test_kernel_is_that_of_the_terms(n: int, dtype: torch.dtype, seed: int) -> None:
    check_kernel_is_that_of_the_terms(n, seed, dtype)


def test_sides_of_a_symmetric_kernel_share_poles_and_weights() -> None:
    made = exponentials(gaussian(LINE, f64([2.0, 5.0])), order=3).exponentials
    assert_exact(made.future_poles, made.past_poles)  # type: ignore[arg-type]
    assert_exact(made.future_weights, made.past_weights)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13, 32])
def test_law_16_half_as_many_exponentials_as_tokens_are_exact(n: int) -> None:
    """Any kernel at all, at order ⌈n/2⌉, with weights of its own size."""
    kernel = kernel_of((n,), n)
    made = exponentials(kernel, order=(n + 1) // 2)
    assert_close(made.kernel, kernel)
    assert float(made.exponentials.past_weights.abs().max()) < 1e3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernels_of_half_types_keep_their_sides(dtype: torch.dtype) -> None:
    """Up to the rounding of their dtype: one that is causal stays so, any is exact, and one pole is found."""
    decay = causal_decay(LINE, f64([0.75])).to(dtype)
    made = exponentials(decay, order=1)
    assert made.exponentials.causal
    assert_close(made.kernel, decay)
    kernel = kernel_of((13,), 13, dtype)
    assert_close(exponentials(kernel, order=7).kernel, kernel)
    even = exponentials(gaussian(LINE, f64([5.0])).to(dtype), order=3).exponentials
    assert_exact(even.future_poles, even.past_poles)  # type: ignore[arg-type]


@pytest.mark.parametrize(("dtype", "little"), [(torch.float32, 1e-5), (torch.float64, 1e-13), (torch.float16, 1e-3)])
def test_sides_that_are_small_beside_offset_0_stay_apart(dtype: torch.dtype, little: float) -> None:
    """A causal kernel stays causal whatever its weight at offset 0 is, and what two sides differ by is no rounding."""
    causal = little * causal_decay(LINE, f64([0.9]))
    causal[:, causal.shape[1] // 2] = 1.0
    made = exponentials(causal.to(dtype), order=2)
    assert made.exponentials.causal
    assert made.relative.item() < max(tolerance(dtype) / 10, 1e-12)
    assert exponentials(causal.flip(1).to(dtype), order=2).relative.item() < max(tolerance(dtype) / 10, 1e-12)
    if dtype == torch.float32:
        uneven = (causal + causal.flip(1) / 2).to(dtype)
        assert exponentials(uneven, order=2).relative.item() < 1e-6


def test_zero_and_delta() -> None:
    zero = exponentials(torch.zeros(1, 9), order=2)
    assert zero.relative.tolist() == [0.0]
    assert bool(torch.isfinite(zero.exponentials.kernel(5)).all())
    delta = torch.nn.functional.one_hot(torch.tensor([4]), 9).double()
    assert float(exponentials(delta, order=1).relative) < 1e-12


@pytest.mark.parametrize("order", [1, 2, 3])
@settings(max_examples=6)
@given(seed=seeds)
def test_law_16_no_order_beats_the_hankel_singular_values(order: int, seed: int) -> None:
    """‖h − h'‖₁ ≥ s_{2R+1} of the Hankel matrix of a side, by singular values computed by rotations."""
    kernel = kernel_of((15,), seed) * two_sided_decay(Grid(15).offsets(), f64([0.6, 0.8]))
    made = exponentials(kernel, order=order)
    for head, certificate in zip(kernel, made.certificate.tolist(), strict=True):
        past, future = head[:15].flip(0).tolist(), head[15:].tolist()
        least = 0.0
        for side in (past, future):
            half = (len(side) + 1) // 2
            values = naive_approximate.singular_values([side[i : i + half] for i in range(half)])
            least += values[2 * order] if 2 * order < half else 0.0
        assert certificate >= least * (1 - tolerance(F64))


def test_long_lines_use_the_randomised_eigenvectors() -> None:
    """σ = 400 on 2,048 tokens: as many exponentials as σ = 5, and an error that depends on σ hardly at all."""
    made = exponentials(gaussian(Grid(2048).offsets(), f64([5.0, 400.0])), tolerance=1e-3)
    assert made.order.tolist() == [2, 2]
    assert float(made.relative.max()) <= 1e-3


def test_unit_of_the_kernel_does_not_matter() -> None:
    kernel = gaussian(LINE, f64([5.0]))
    small = exponentials(kernel * 2.0**-60, order=2)
    assert_close(small.kernel * 2.0**60, exponentials(kernel, order=2).kernel)


# --- kernels that separate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 9), (9, 12), (6, 7, 8)])
def test_gaussian_mixture_on_boards_by_its_factors(shape: tuple[int, ...]) -> None:
    """Each Gaussian separates (law 9), each factor is a few exponentials, and the certificate is that of the whole."""
    mask = GaussianMixtureMask.from_parameters(f64([[0.7, 2.0], [1.0, 3.0]]), f64([[-0.5, 1.0], [0.8, 0.3]]))
    made = exponentials(mask.separable(shape), tolerance=1e-4)  # type: ignore[arg-type]
    kernel = gaussian_mixture(Grid(shape).offsets(), mask.sigma, mask.alpha).detach()
    assert float(made.relative.max()) <= 1e-4
    assert_close(made.certificate, (kernel - made.kernel).abs().flatten(1).sum(dim=1), F64) if len(shape) < 3 else None
    assert len(made.axes) == len(shape)
    factors = tuple(e.kernel(n).reshape(HEADS, 2, 2 * n - 1) for e, n in zip(made.axes, shape, strict=True))
    assert_close(Separable(factors).kernel(), made.kernel)


def test_manhattan_decay_is_one_exponential_on_each_axis() -> None:
    gamma = f64([0.5, 0.9])
    made = exponentials(Decay(gamma).factors(Grid((5, 7))), order=1)
    assert_close(made.kernel, manhattan_decay(Grid((5, 7)).offsets(), gamma))
    for axis in made.axes:
        assert_close(axis.past_poles.real[:, 0], gamma)


def test_heads_of_lower_order_are_filled_up() -> None:
    kernel = torch.cat([two_sided_decay(LINE, f64([0.9])), gaussian(LINE, f64([5.0]))])
    made = exponentials(kernel, tolerance=1e-6)
    assert made.order[0] == 1
    assert made.order[1] > 1
    assert_exact(made.exponentials.past_weights[0, 1:], torch.zeros(int(made.order[1]) - 1))
    assert math.isfinite(float(made.kernel.sum()))
