"""The symbol: against loops, against closed forms over drawn parameters, and as the gain of a plane wave."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from retconv.analysis.spectrum import (
    frequencies,
    gaussian_mixture_symbol,
    gaussian_symbol,
    gpsa_symbol,
    manhattan_decay_symbol,
    sampled_symbol,
    symbol,
)
from retconv.grid import Grid
from retconv.kernels import gaussian, gaussian_mixture, gpsa, manhattan_decay, two_sided_decay
from tests.analysis import naive as naive_analysis
from tests.analysis.cases import as_real, f64
from tests.analysis.checks import CLOSED, assert_closed_form, check_causal_pole, check_plane_wave, check_symbol
from tests.compare import assert_close
from tests.strategies import every_grid, kernel_of, uniform

gammas = st.floats(0.05, 0.95)
sigmas = st.floats(0.0, 6.0)
alphas = st.floats(-2.0, 2.0)


@every_grid
def test_symbol_is_the_sum_over_offsets(shape: tuple[int, ...], seed: int) -> None:
    """a(θ) = Σ_δ K[δ] exp(i δ·θ), for kernels without symmetry at drawn frequencies."""
    check_symbol(shape, seed)


@every_grid
def test_sampled_symbol_is_the_symbol_at_its_frequencies(shape: tuple[int, ...], seed: int) -> None:
    """By FFT at even, odd and prime sizes, finer than the kernel and coarser, where offsets alias."""
    kernel = kernel_of(shape, seed)
    for extra in (-2, 0, 1, 4):
        sizes = tuple(max(1, 2 * n + extra + axis) for axis, n in enumerate(shape))
        expected = symbol(kernel, frequencies(sizes))
        assert_close(as_real(sampled_symbol(kernel, sizes)), as_real(expected), torch.float64)


def test_frequencies_start_at_nyquist_and_hold_zero() -> None:
    assert frequencies(4).flatten().tolist() == pytest.approx([-math.pi, -math.pi / 2, 0, math.pi / 2])
    assert frequencies((3, 2)).shape == (3, 2, 2)
    assert frequencies((3, 2))[1, 1].tolist() == [0, 0]
    assert frequencies(3).max() == pytest.approx(2 * math.pi / 3)


@pytest.mark.parametrize("shape", [(41,), (21, 25)])
def test_symbol_is_the_gain_of_a_plane_wave(shape: tuple[int, ...]) -> None:
    """(M x)[q] = a(θ) x[q] for x[p] = exp(iθ·p), at a query whose window meets no border."""
    check_plane_wave(shape)


def test_symbol_of_a_symmetric_kernel_is_real_and_of_the_flipped_one_conjugate() -> None:
    kernel, theta = kernel_of((3, 4), 0), uniform(0, -3.0, 3.0, 9, 2)
    even = kernel + kernel.flip((1, 2))
    assert float(symbol(even, theta).imag.abs().max()) < 1e-14
    flipped = symbol(kernel.flip((1, 2)), theta).conj()
    assert_close(as_real(flipped), as_real(symbol(kernel, theta)), torch.float64)


# --- closed forms over drawn parameters -----------------------------------------------------------------------------


@given(gamma=gammas)
def test_law_6_causal_decay_is_one_pole(gamma: float) -> None:
    """1 / (1 − γ z⁻¹) with z = exp(iθ): the sign is that of offset = key − query."""
    check_causal_pole(gamma)


@given(gamma=gammas)
def test_law_7_two_sided_decay(gamma: float) -> None:
    """(1 − γ²) / (1 − 2γ cos θ + γ²), between (1−γ)/(1+γ) and (1+γ)/(1−γ)."""
    theta, long = frequencies(34), Grid(700)
    closed = manhattan_decay_symbol(theta, gamma)
    assert_closed_form(closed.to(torch.complex128), symbol(two_sided_decay(long.offsets(), f64([gamma])), theta))
    assert float(closed.max()) == pytest.approx((1 + gamma) / (1 - gamma), rel=1e-12)
    assert float(closed.min()) == pytest.approx((1 - gamma) / (1 + gamma), rel=1e-12)


@given(first=st.floats(0.05, 0.7), second=st.floats(0.05, 0.7))
def test_law_8_manhattan_decay_on_a_plane(first: float, second: float) -> None:
    """Two heads at once."""
    theta, gamma = frequencies((7, 8)), f64([first, second])
    kernel = manhattan_decay(Grid((80, 81)).offsets(), gamma)
    assert_closed_form(manhattan_decay_symbol(theta, gamma).to(torch.complex128), symbol(kernel, theta))
    one = [[naive_analysis.decay_symbol(t, g) for t in theta.reshape(-1, 2).tolist()] for g in gamma.tolist()]
    assert_close(manhattan_decay_symbol(theta, gamma).flatten(1), one)


@given(sigma=sigmas)
def test_law_9_gaussian_by_poisson_summation(sigma: float) -> None:
    """Also σ = 0, where 450 images of the sum make a constant 1, and frequencies beyond one period."""
    theta, long = 3 * frequencies(30), Grid(60)
    numeric = symbol(gaussian(long.offsets(), f64([sigma])), theta)
    assert_closed_form(gaussian_symbol(theta, f64([sigma])).to(torch.complex128), numeric)


@given(sigma=st.lists(sigmas, min_size=4, max_size=4), alpha=st.lists(alphas, min_size=4, max_size=4))
def test_law_9_mixture_on_a_plane(sigma: list[float], alpha: list[float]) -> None:
    """Two heads of two Gaussians each; the error is measured by the mixture without cancellation."""
    theta, grid = frequencies((6, 7)), Grid((50, 51))
    sigmas_, alphas_ = f64(sigma).reshape(2, 2), f64(alpha).reshape(2, 2)
    closed = gaussian_mixture_symbol(theta, sigmas_, alphas_)
    numeric = symbol(gaussian_mixture(grid.offsets(), sigmas_, alphas_), theta)
    scale = gaussian_mixture_symbol(theta, sigmas_, alphas_.abs()).abs().max()
    assert float((closed - numeric).abs().max()) <= CLOSED * max(float(scale), 1e-300)


@given(
    alpha=st.one_of(st.floats(0.02, 3.0), st.floats(3.0, 500.0)),
    center=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
@example(400.0, (0.5, -1.5))
def test_gpsa_symbol(alpha: float, center: tuple[float, float]) -> None:
    """The symbol of the softmax of ConViT's scores over a long grid; complex, since the Gaussian is off centre."""
    theta, grid = frequencies((6, 7)), Grid((60, 60))
    scores = gpsa(grid.offsets(), f64([alpha]), f64([center]))
    weights = scores.flatten(1).softmax(dim=1).reshape(scores.shape)
    assert_closed_form(gpsa_symbol(theta, f64([alpha]), f64([center])), symbol(weights, theta))


def test_gpsa_without_center_is_a_gaussian_of_sum_one() -> None:
    """α = 1 / 2σ² (here with the Gaussian's ε)."""
    theta, sigma = frequencies(16), 1.7
    gaussian_ = gaussian_symbol(theta, f64([sigma]))
    expected = gaussian_ / gaussian_[:, 8:9]
    assert_close(gpsa_symbol(theta, f64([1 / (2 * (sigma**2 + 1e-5))])).real, expected)


def test_closed_forms_keep_their_gradients() -> None:
    gamma = f64([0.5]).requires_grad_()
    sigma, alpha = f64([[0.4, 2.0]]).requires_grad_(), f64([[-0.8, 0.6]]).requires_grad_()
    theta = frequencies((3, 4))
    assert torch.autograd.gradcheck(lambda g: manhattan_decay_symbol(theta, g), (gamma,))
    assert torch.autograd.gradcheck(lambda s, a: gaussian_mixture_symbol(theta, s, a), (sigma, alpha))


def test_symbols_keep_the_gradient_of_the_kernel() -> None:
    kernel, theta = kernel_of((2, 3), 0).requires_grad_(), uniform(0, -3.0, 3.0, 4, 2)
    assert torch.autograd.gradcheck(lambda k: as_real(symbol(k, theta)), (kernel,))
    assert torch.autograd.gradcheck(lambda k: as_real(sampled_symbol(k, (2, 7))), (kernel,))


def test_float32_parameters_are_computed_in_float64() -> None:
    theta = frequencies(5)
    assert manhattan_decay_symbol(theta.float(), torch.tensor([0.75])).dtype == torch.float64
    assert_close(symbol(kernel_of((4,), 0).float(), theta).real, symbol(kernel_of((4,), 0), theta).real, torch.float32)
