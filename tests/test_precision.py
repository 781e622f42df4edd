"""Float32 against float64: no wrong zero, no NaN, at every width and rate that a network can learn."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from retconv import kernels
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, RetNetMask
from tests.compare import assert_each_close

SHAPES = [(1,), (64,), (5, 64), (16, 16), (32, 32), (64, 64), (8, 16, 4)]
SIGMAS = [0.05, 0.2, 1.0, 3.0, 10.0, 30.0, 100.0]
GAMMAS = [1e-3, 0.5, 0.96875, 1 - 1e-6, 1 - 1e-9]
TINY, EPS = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps


def assert_faithful(actual: Tensor, exact: Tensor) -> None:
    """Finite, never 0 where float32 has a number for the float64 value, and right to its rounding.

    Below the smallest normal number float32 loses digits, then all of them; that alone is allowed.
    """
    assert actual.dtype == torch.float32
    assert bool(torch.isfinite(actual).all())
    assert int(((actual == 0) & (exact.abs() > TINY)).sum()) == 0, "wrong zeros"
    assert_each_close(actual, exact, relative=EPS)


def squared_distance(shape: tuple[int, ...]) -> Tensor:
    return Grid(shape).offsets().double().square().sum(dim=-1)


def distance(shape: tuple[int, ...]) -> Tensor:
    return Grid(shape).offsets().double().abs().sum(dim=-1)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gaussian(shape: tuple[int, ...], sigma: float) -> None:
    """float32 exp(−d² / 2(σ² + ε)) is the float64 value, rounded, from σ = 0.05 to 100."""
    width = torch.tensor([sigma])
    exact = torch.exp(-squared_distance(shape) / (2 * (width.double() ** 2 + 1e-5)))
    assert_faithful(kernels.gaussian(Grid(shape).offsets(), width)[0], exact)
    mask = GaussianMixtureMask.from_parameters(width[:, None], torch.ones(1, 1))
    assert_faithful(mask.kernel(shape)[0].detach(), exact)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_decay(shape: tuple[int, ...], gamma: float) -> None:
    """float32 γ^‖δ‖₁ is the float64 value of the rounded γ, rounded, from γ = 1e-3 to 1."""
    rate = torch.tensor([gamma])
    exact = rate.double() ** distance(shape)
    assert_faithful(kernels.manhattan_decay(Grid(shape).offsets(), rate)[0], exact)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_decay_mask(shape: tuple[int, ...], gamma: float) -> None:
    """A float32 mask is γ^‖δ‖₁ of its γ, which the parameter holds as log(−log γ) in float32."""
    mask = DecayMask(1, gamma=gamma, learnable=True)
    kernel = mask.kernel(shape)
    assert_faithful(kernel[0].detach(), mask.gamma.detach() ** distance(shape))
    kernel.sum().backward()
    assert mask.log_rate.grad is not None
    assert bool(torch.isfinite(mask.log_rate.grad).all())


@pytest.mark.parametrize("gamma", GAMMAS)
def test_retnet_mask(gamma: float) -> None:
    """The causal mask on a line of 512 tokens, raw and normalised."""
    raw = RetNetMask(1, gamma)
    steps = torch.arange(512.0, dtype=torch.float64)
    power = torch.where(steps[:, None] >= steps, raw.gamma ** (steps[:, None] - steps).clamp(min=0), 0.0)
    assert_faithful(raw(512)[0], power)
    normalized = RetNetMask(1, gamma, normalize=True)
    assert_faithful(normalized(512)[0], power / power.sum(dim=1, keepdim=True).sqrt())


@pytest.mark.parametrize("sigma", SIGMAS)
def test_gradient_of_sigma_is_finite_and_exact(sigma: float) -> None:
    """∂K/∂σ = σ d² / (σ² + ε)² · exp(−d² / 2(σ² + ε)), summed over the offsets of 64×64 tokens."""
    mask = GaussianMixtureMask.from_parameters(torch.tensor([[sigma]]), torch.ones(1, 1))
    mask.kernel((64, 64)).sum().backward()
    s, d2 = torch.tensor(sigma).double(), squared_distance((64, 64))
    variance = s**2 + 1e-5
    exact = (s * d2 / variance**2 * torch.exp(-d2 / (2 * variance))).sum()
    assert mask.sigma.grad is not None
    assert float(mask.sigma.grad) == pytest.approx(float(exact), rel=1e-5, abs=TINY)


def reference(d2: Tensor, sigma: float) -> Tensor:
    """The authors' formula, in the dtype of the squared distances."""
    return (torch.exp(-d2) ** 0.5) ** (1 / (sigma**2 + 1e-5))


def pairs(shape: tuple[int, ...], where: Tensor) -> float:
    """Fraction of all token pairs whose offset is marked."""
    count = Grid(shape).pair_count()
    return float(count[where].sum()) / float(count.sum())


def test_reference_formula_is_zero_for_most_pairs_where_ours_is_exact() -> None:
    """σ = 10 on 64×64 tokens: exp(−d²) underflows for d² ≥ 104 whatever σ is; combined exponents do not."""
    shape, d2 = (64, 64), squared_distance((64, 64))
    exact = torch.exp(-d2 / (2 * (100 + 1e-5)))
    mask = GaussianMixtureMask.from_parameters(torch.tensor([[10.0]]), torch.ones(1, 1))
    ours = mask.kernel(shape)[0].detach()
    assert bool((exact > TINY).all())
    assert float(((ours.double() - exact) / exact).abs().max()) <= 1e-6
    assert pairs(shape, reference(d2.float(), 10.0) == 0) > 0.9


@pytest.mark.parametrize(("shape", "fraction"), [((16, 16), 1 / 3), ((32, 32), 3 / 4)])
def test_how_many_wrong_zeros_the_reference_formula_has(shape: tuple[int, int], fraction: float) -> None:
    """A third of all pairs on 16×16 tokens, three quarters on 32×32."""
    wrong = reference(squared_distance(shape).float(), 10.0) == 0
    assert pairs(shape, wrong) == pytest.approx(fraction, abs=0.03)


def test_reference_formula_in_float64_is_the_same_function() -> None:
    """Ours is a different evaluation, not a different mask: they agree in float64 while exp(−d²) is above 0."""
    d2 = squared_distance((8, 8))
    ours = kernels.gaussian(Grid((8, 8)).offsets(), torch.tensor([3.0], dtype=torch.float64))[0]
    assert_each_close(ours, reference(d2, 3.0), relative=1e-12)


@pytest.mark.parametrize(
    "bias",
    [
        lambda d: kernels.alibi(d, torch.tensor([1e-3])),
        lambda d: kernels.kerple_log(d, torch.tensor([1e-3]), torch.tensor([1e-6])),
        lambda d: kernels.kerple_power(d, torch.tensor([1e-3]), torch.tensor([1e-2])),
        lambda d: kernels.gpsa(d, torch.tensor([1e-6])),
    ],
    ids=["alibi", "kerple_log", "kerple_power", "gpsa"],
)
def test_biases_of_small_rates_vanish_at_offset_zero_only(bias: Callable[[Tensor], Tensor]) -> None:
    """No bias is rounded to 0 by 1 + r|δ| or the like."""
    offset = Grid((64, 64)).offsets()
    zero = bias(offset)[0] == 0
    assert int(zero.sum()) == 1
    assert bool(zero[63, 63])


def test_kerple_log_of_a_small_rate_keeps_its_digits() -> None:
    """log(1 + r|δ|) by ``log1p``: 1 + 1e-9 would keep seven digits of the rate, of sixteen."""
    kernel = kernels.kerple_log(torch.arange(1, 9)[:, None], 1.0, torch.tensor([1e-9], dtype=torch.float64))
    assert_each_close(kernel, [[-math.log1p(1e-9 * d) for d in range(1, 9)]], relative=1e-14)
