"""Laws 8 to 11: which kernels separate, what their symbols are, and when masks are positive."""

import math

import pytest
import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import euclidean_decay, gaussian_mixture, manhattan_decay, two_sided_decay
from retconv.masks import GaussianMixtureMask
from tests import naive
from tests.compare import assert_close
from tests.strategies import HEADS, every_grid, normal, uniform

BOARDS = [(3, 5), (5, 3), (4, 4), (1, 7), (7, 6)]


def f64(numbers: object) -> Tensor:
    """Python numbers as they are: float32, torch's default, would round them."""
    return torch.tensor(numbers, dtype=torch.float64)


def kronecker_values(mask: Tensor, shape: tuple[int, int]) -> Tensor:
    """Singular values of one head's mask as a sum of Kronecker products, relative to the largest.

    Van Loan and Pitsianis's rearrangement: entry [(q_1, k_1), (q_2, k_2)] holds M[(q_1, q_2), (k_1, k_2)], so that
    A ⊗ B becomes vec(A) vec(B)ᵀ of rank 1.
    """
    rearranged = mask.reshape(*shape, *shape).permute(0, 2, 1, 3).reshape(shape[0] ** 2, shape[1] ** 2)
    values = torch.linalg.svdvals(rearranged)
    return values / values[0]


# --- law 8: Manhattan decay separates, Euclidean decay does not ------------------------------------------------------


@pytest.mark.parametrize("shape", BOARDS)
@pytest.mark.parametrize("gamma", [0.1, 0.7, 0.99])
def test_law_8_manhattan_decay_is_a_kronecker_product(shape: tuple[int, int], gamma: float) -> None:
    """γ^(|a|+|b|) = γ^|a| γ^|b|, hence M = T_1 ⊗ T_2 with the two-sided decays of the axes."""
    toeplitz = [f64(naive.mask(lambda q, k: gamma ** abs(k[0] - q[0]), (n,))) for n in shape]
    mask = kernel_to_mask(manhattan_decay(Grid(shape).offsets(), f64([gamma])), shape)
    assert_close(mask[0], torch.kron(*toeplitz))


@pytest.mark.parametrize("shape", BOARDS)
def test_law_8_manhattan_decay_has_kronecker_rank_one(shape: tuple[int, int]) -> None:
    """Its second singular value is 0."""
    for mask in kernel_to_mask(manhattan_decay(Grid(shape).offsets(), uniform(0, 0.3, 0.95, HEADS)), shape):
        assert float(kronecker_values(mask, shape)[1:].sum()) < 1e-14


@pytest.mark.parametrize("gamma", [0.5, 0.8, 0.95])
def test_law_8_euclidean_decay_does_not_separate(gamma: float) -> None:
    """γ^√(a² + b²) on 7×7 tokens: seven distinct |a| give rank 7, with singular values far above rounding."""
    values = torch.linalg.svdvals(euclidean_decay(Grid((7, 7)).offsets(), f64([gamma]))[0])
    relative = values / values[0]
    assert float(relative[1]) > 1e-2
    assert float(relative[6]) > 1e-8
    assert float(relative[7:].max()) < 1e-14


def test_law_8_on_a_line_both_are_the_same() -> None:
    """‖δ‖_1 = ‖δ‖_2 = |δ| where there is one axis."""
    offset, gamma = Grid(7).offsets(), uniform(0, 0.2, 0.9, HEADS)
    assert_close(euclidean_decay(offset, gamma), two_sided_decay(offset, gamma))


# --- law 9: Gaussians separate, and their symbol --------------------------------------------------------------------


@pytest.mark.parametrize("shape", BOARDS)
@pytest.mark.parametrize("components", [1, 2, 3])
def test_law_9_kronecker_rank_is_at_most_the_number_of_gaussians(shape: tuple[int, int], components: int) -> None:
    """Σ_c α_c g_c ⊗ g_c: singular values beyond the number of Gaussians are 0."""
    kernel = gaussian_mixture(
        Grid(shape).offsets(), uniform(1, 0.5, 3.0, HEADS, components), normal(2, HEADS, components)
    )
    for mask in kernel_to_mask(kernel, shape):
        assert float(kronecker_values(mask, shape)[components:].sum()) < 1e-13


def test_law_9_the_bound_is_reached() -> None:
    """Three Gaussians of distinct widths on 7×7 tokens have Kronecker rank 3."""
    sigma, alpha = f64([[0.5, 1.5, 4.0]]), f64([[1.0, 1.0, 1.0]])
    values = kronecker_values(kernel_to_mask(gaussian_mixture(Grid((7, 7)).offsets(), sigma, alpha), (7, 7))[0], (7, 7))
    assert float(values[2]) > 1e-3


def poisson_symbol(theta: float, sigma: float) -> float:
    """Σ_δ exp(−δ²/2s²) e^(−iδθ) over all integers = s √2π Σ_m exp(−s² (θ + 2πm)² / 2), with s² = σ² + 1e-5."""
    variance = sigma * sigma + 1e-5
    terms = (math.exp(-variance * (theta + 2 * math.pi * m) ** 2 / 2) for m in range(-40, 41))
    return math.sqrt(2 * math.pi * variance) * math.fsum(terms)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 2.5, 6.0])
def test_law_9_symbol_of_a_gaussian(sigma: float) -> None:
    """The transform of a long enough kernel is the closed form of Poisson summation, at every frequency."""
    offset = Grid(64).offsets()[:, 0].double()
    kernel = gaussian_mixture(offset[:, None], f64([[sigma]]), f64([[1.0]]))[0]
    thetas = torch.linspace(-math.pi, math.pi, 33, dtype=torch.float64)
    symbol = (kernel * torch.cos(thetas[:, None] * offset)).sum(dim=1)
    assert_close(symbol, [poisson_symbol(t, sigma) for t in thetas.tolist()])


def test_law_9_symbol_of_a_mixture_on_a_board() -> None:
    """Σ_c α_c ŝ_c(θ_1) ŝ_c(θ_2): products over axes, because each Gaussian separates."""
    sigma, alpha = (0.8, 2.0), (1.0, -0.7)
    offset = Grid((24, 24)).offsets().double()
    kernel = gaussian_mixture(offset, f64([sigma]), f64([alpha]))[0]
    for theta in ((0.0, 0.0), (0.4, -1.1), (math.pi, 2.0)):
        symbol = (kernel * torch.cos(offset[..., 0] * theta[0] + offset[..., 1] * theta[1])).sum()
        terms = (
            a * poisson_symbol(theta[0], s) * poisson_symbol(theta[1], s) for s, a in zip(sigma, alpha, strict=True)
        )
        assert float(symbol) == pytest.approx(math.fsum(terms), rel=1e-11)


# --- law 10: extroversion -------------------------------------------------------------------------------------------


def mixture_mask(sigma: list[float], alpha: list[float], shape: tuple[int, ...]) -> Tensor:
    return GaussianMixtureMask.from_parameters(f64([sigma]), f64([alpha]))(shape)[0].detach()


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_law_10_a_narrow_negative_gaussian_tends_to_minus_identity(shape: tuple[int, ...]) -> None:
    """‖M + |α| I‖_max = |α| exp(−1 / 2(σ² + ε)) → 0 as σ → 0, for α < 0."""
    identity, distances = torch.eye(math.prod(shape), dtype=torch.float64), []
    for sigma in (0.8, 0.4, 0.2, 0.1, 0.0):
        distance = float((mixture_mask([sigma], [-0.8], shape) + 0.8 * identity).abs().max())
        assert distance == pytest.approx(0.8 * math.exp(-0.5 / (sigma**2 + 1e-5)), rel=1e-9, abs=1e-300)
        distances.append(distance)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0


@every_grid
def test_law_10_locality_and_extroversion_give_a_negative_self_weight(shape: tuple[int, ...], seed: int) -> None:
    """α = 0.6, σ = 2 and α = −0.8, σ = 0.2: M = 0.6 G_2 − 0.8 I up to 3·10⁻⁶, with self-weight −0.2."""
    mask = mixture_mask([2.0, 0.2], [0.6, -0.8], shape)
    low_pass = mixture_mask([2.0], [0.6], shape)
    identity = torch.eye(len(mask), dtype=torch.float64)
    assert_close(mask.diagonal(), torch.full((len(mask),), -0.2, dtype=torch.float64))
    assert float((mask - (low_pass - 0.8 * identity)).abs().max()) <= 0.8 * math.exp(-12.49)
    assert bool(((low_pass - mask * (1 - identity)) * (1 - identity) >= 0).all())


@every_grid
def test_law_10_such_a_mask_has_no_logarithm(shape: tuple[int, ...], seed: int) -> None:
    """No real L has exp(L) = M: the diagonal is negative, so ``bias_logits`` = softmax(S + log M) does not exist."""
    mask = mixture_mask([2.0, 0.2], [0.6, -0.8], shape)
    assert bool(torch.isnan(mask.log().diagonal()).all())
    assert bool(torch.isfinite(mixture_mask([2.0], [0.6], shape).log()).all())


# --- law 11: positivity ---------------------------------------------------------------------------------------------


def lowest(matrix: Tensor) -> float:
    """Smallest eigenvalue, relative to the largest in magnitude."""
    values = torch.linalg.eigvalsh(matrix)
    return float(values.min() / values.abs().max())


@every_grid
def test_law_11_positive_weights_give_a_positive_semidefinite_mask(shape: tuple[int, ...], seed: int) -> None:
    """α > 0 ⇒ xᵀ M x ≥ 0."""
    kernel = gaussian_mixture(Grid(shape).offsets(), uniform(seed, 0.1, 6.0, HEADS, 3), uniform(seed, 0.1, 2, HEADS, 3))
    assert all(lowest(mask) >= -1e-12 for mask in kernel_to_mask(kernel, shape))


@every_grid
def test_law_11_schur_product(shape: tuple[int, ...], seed: int) -> None:
    """M ⊙ A stays positive semidefinite for every positive semidefinite A."""
    kernel = gaussian_mixture(Grid(shape).offsets(), uniform(seed, 0.1, 6.0, HEADS, 3), uniform(seed, 0.1, 2, HEADS, 3))
    factor = normal(seed, math.prod(shape), max(1, math.prod(shape) // 2))
    assert all(lowest(mask * (factor @ factor.mT)) >= -1e-12 for mask in kernel_to_mask(kernel, shape))


def test_law_11_a_signed_mixture_need_not_be_positive() -> None:
    """Locality plus extroversion: its symbol is near −0.8 at high frequencies, and so are its lowest eigenvalues."""
    values = torch.linalg.eigvalsh(mixture_mask([2.0, 0.2], [0.6, -0.8], (8, 8)))
    assert float(values.min()) == pytest.approx(-0.8, abs=1e-3)
    assert float(values.max()) > 1


def test_law_11_a_signed_mixture_can_be_positive() -> None:
    """The condition α > 0 is sufficient, not necessary: a narrow Gaussian outweighs a faint negative wide one."""
    assert lowest(mixture_mask([0.2, 2.0], [1.0, -0.1], (16,))) > 0.1


def test_law_11_schur_product_with_a_signed_mask_can_lose_positivity() -> None:
    """M ⊙ I is the self-weight −0.2 on the diagonal."""
    mask = mixture_mask([2.0, 0.2], [0.6, -0.8], (3, 3))
    assert float(torch.linalg.eigvalsh(mask * torch.eye(9)).max()) == pytest.approx(-0.2)
