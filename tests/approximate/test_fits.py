"""Fits recover what was planted, leave a kernel of their own family unchanged, and are stationary elsewhere."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from retconv import kernels
from retconv.approximate import fit_decay, fit_gaussian_mixture
from retconv.checks import tolerance
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, RetNetMask
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, normal, seeds, uniform

#: Grids with more distinct lengths than a mixture of two has parameters.
SHAPES = [(12,), (7, 7), (5, 8), (8, 5), (4, 5, 3)]
F64 = torch.float64


def planted_mixture(shape: tuple[int, ...], seed: int, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor, Tensor]:
    """Two Gaussians per head, widths a factor of 2.5 or more apart, weights of either sign and not near 0."""
    narrow = uniform(seed, 0.5, 0.8, HEADS)
    sigma = torch.stack([narrow, narrow * uniform(seed + 1, 2.5, 4.0, HEADS)], dim=1)
    alpha = uniform(seed + 2, 0.5, 2.0, HEADS, 2) * normal(seed + 3, HEADS, 2).sign()
    return kernels.gaussian_mixture(Grid(shape).offsets(), sigma, alpha).to(dtype), sigma, alpha


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=8)
@given(seed=seeds)
def test_planted_mixture_is_recovered(shape: tuple[int, ...], seed: int) -> None:
    kernel, sigma, alpha = planted_mixture(shape, seed)
    made = fit_gaussian_mixture(kernel, 2)
    assert float(made.residual.max()) < 1e-12
    assert float(made.relative.max()) < 1e-12
    # A kernel known to 1e-16 fixes its parameters to about the root of the condition: 1e-9 relative is what is left.
    assert float((made.sigma / sigma - 1).abs().max()) < 1e-9
    assert float((made.alpha / alpha - 1).abs().max()) < 1e-9


def test_planted_mixture_in_float32_is_recovered_to_its_rounding() -> None:
    kernel, sigma, alpha = planted_mixture((7, 7), 0, torch.float32)
    made = fit_gaussian_mixture(kernel, 2)
    assert made.kernel.dtype == torch.float32
    assert made.mask.sigma.dtype == torch.float32
    assert_close(made.kernel, kernel)
    assert_close(made.sigma, sigma, torch.float32)
    assert_close(made.alpha, alpha, torch.float32)


def test_three_planted_gaussians_of_five() -> None:
    """The paper's K = 5 fitted to a mixture of three: the kernel is the same, whatever the two spare ones do."""
    sigma, alpha = torch.tensor([[0.7, 2.0, 5.0]], dtype=F64), torch.tensor([[1.0, -0.7, 0.4]], dtype=F64)
    kernel = kernels.gaussian_mixture(Grid((14, 14)).offsets(), sigma, alpha)
    three = fit_gaussian_mixture(kernel, 3)
    assert_close(three.sigma, sigma)
    assert_close(three.alpha, alpha)
    assert float(fit_gaussian_mixture(kernel, 5).relative) < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_fitted_mask_has_the_fitted_kernel(shape: tuple[int, ...]) -> None:
    kernel = kernels.euclidean_decay(Grid(shape).offsets(), torch.tensor([0.5, 0.8], dtype=F64))
    made = fit_gaussian_mixture(kernel, 2, starts=2)
    assert isinstance(made.mask, GaussianMixtureMask)
    assert_exact(made.mask.kernel(shape).detach(), made.kernel)
    for head, sigma, alpha in zip(made.kernel, made.sigma.tolist(), made.alpha.tolist(), strict=True):
        formula = partial(naive.gaussian_mixture, sigma=sigma, alpha=alpha)
        assert_close(head.flatten(), naive.kernel(formula, shape))


def test_weights_that_a_half_type_does_not_hold_are_fitted_to_a_kernel_that_it_does() -> None:
    """Of noise near the largest number, whose fits have larger weights of both signs."""
    for seed in range(4):
        fit = fit_gaussian_mixture(uniform(seed, 0, 2e4, 1, 5, 5).half(), 3, starts=2)
        assert fit.kernel.dtype == torch.float16
        assert float(fit.relative) < 1


@every_grid
def test_parameters_of_a_noisy_kernel_stay_of_its_size(shape: tuple[int, ...], seed: int) -> None:
    """Where two widths would collapse, float64 weights stay below 1/√eps times the kernel."""
    kernel = kernel_of(shape, seed)
    made = fit_gaussian_mixture(kernel, 2, starts=2)
    assert float(made.alpha.abs().max()) < 1e9
    assert bool((made.residual <= 1 + 1e-12).all())


def test_fit_is_stationary_and_residual_is_what_it_says() -> None:
    """For a kernel that is no mixture the gradient of the squared error vanishes in every parameter."""
    kernel = kernels.euclidean_decay(Grid((9, 9)).offsets(), torch.tensor([0.6, 0.8], dtype=F64))
    made = fit_gaussian_mixture(kernel, 2)
    error = (kernel - made.mask.kernel((9, 9))).square().sum()
    for gradient in torch.autograd.grad(error, list(made.mask.parameters())):
        assert float(gradient.abs().max()) < 1e-5 * float(error.detach())
    assert_close(made.residual, [float((k - f).norm() / k.norm()) for k, f in zip(kernel, made.kernel, strict=True)])


def test_more_starts_are_never_worse_and_the_seed_is_all_that_is_random() -> None:
    kernel = kernels.euclidean_decay(Grid((9, 9)).offsets(), torch.tensor([0.6, 0.8], dtype=F64))
    few, many = fit_gaussian_mixture(kernel, 2, starts=1), fit_gaussian_mixture(kernel, 2, starts=6)
    assert bool((many.residual <= few.residual * (1 + tolerance(F64))).all())
    assert_exact(fit_gaussian_mixture(kernel, 2, starts=6).kernel, many.kernel)


def test_gaussian_of_zero_kernel_is_zero() -> None:
    made = fit_gaussian_mixture(torch.zeros(1, 5, 5), 2, starts=2)
    assert made.relative.tolist() == [0.0]
    assert made.residual.tolist() == [0.0]


DECAYS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "manhattan": (kernels.manhattan_decay, ((7,), (3, 5), (5, 3), (2, 3, 4))),
    "euclidean": (kernels.euclidean_decay, ((7,), (3, 5), (5, 3), (2, 3, 4))),
    "two_sided": (kernels.two_sided_decay, ((7,),)),
    "causal": (kernels.causal_decay, ((7,),)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", DECAYS)
@settings(max_examples=8)
@given(seed=seeds)
def test_planted_decay_is_recovered(metric: str, dtype: torch.dtype, seed: int) -> None:
    """γ and the scale; a scale of 1 means that the mask module alone is the kernel."""
    closed_form, shapes = DECAYS[metric]
    gamma, scale = uniform(seed, 0.2, 0.99, HEADS), uniform(seed + 1, 0.5, 3.0, HEADS)
    for shape in shapes:
        sites = (HEADS, *(1,) * len(shape))
        kernel = (scale.reshape(sites) * closed_form(Grid(shape).offsets(), gamma)).to(dtype)
        made = fit_decay(kernel, metric)  # type: ignore[arg-type]
        assert_close(made.gamma, gamma, dtype)
        assert_close(made.scale, scale, dtype)
        assert_close(made.kernel, kernel)
        assert_close(made.scale.to(dtype).reshape(sites) * made.mask.kernel(shape), kernel)
        assert float(made.residual.max()) < (1e-12 if dtype == F64 else 1e-6)


@pytest.mark.parametrize("gamma", [1e-3, 1 - 2**-5, 1 - 2**-12, 1 - 1e-6])
def test_fast_and_slow_decays_are_recovered(gamma: float) -> None:
    """As far as a line of 64 tokens shows them: 1 − γ is known to 1e-16 · 64 / (1 − γ)."""
    kernel = kernels.causal_decay(Grid(64).offsets(), torch.tensor([gamma], dtype=F64))
    made = fit_decay(kernel, "causal")
    assert isinstance(made.mask, RetNetMask)
    assert float(made.gamma) == pytest.approx(gamma, rel=1e-12)
    assert float(made.scale) == pytest.approx(1, rel=1e-12)


def test_best_decay_of_a_gaussian_by_a_fine_search() -> None:
    """The least squared error over a grid of γ, each with its best scale, is not below the fit's."""
    kernel = kernels.gaussian(Grid((9, 9)).offsets(), torch.tensor([2.0], dtype=F64))
    made = fit_decay(kernel, "euclidean")
    assert isinstance(made.mask, DecayMask)
    assert made.mask.metric == "euclidean"
    best = math.inf
    for i in range(1, 1000):
        decay = kernels.euclidean_decay(Grid((9, 9)).offsets(), torch.tensor([i / 1000], dtype=F64))
        scale = (kernel * decay).sum() / decay.square().sum()
        best = min(best, float((kernel - scale * decay).norm() / kernel.norm()))
    assert float(made.residual) <= best < float(made.residual) * (1 + 1e-4)
    assert 0.1 < float(made.residual) < 1


@pytest.mark.parametrize("unit", [1e-170, 1e-30, 1e-9, 1e30, 1e160])
def test_the_unit_of_a_kernel_does_not_matter(unit: float) -> None:
    """Weights of attention on many tokens are small: a search must not end because all numbers are."""
    decay = kernels.manhattan_decay(Grid((6, 6)).offsets(), torch.tensor([0.75], dtype=F64))
    fit = fit_decay(unit * decay)
    assert float(fit.gamma) == pytest.approx(0.75, rel=1e-9)
    assert float(fit.scale) == pytest.approx(unit, rel=1e-9)
    kernel, sigma, _ = planted_mixture((7, 7), 3)
    mixture = fit_gaussian_mixture(unit * kernel, 2)
    assert float(mixture.relative.max()) < 1e-9
    assert float((mixture.sigma / sigma - 1).abs().max()) < 1e-9
