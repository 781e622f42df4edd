"""Laws 6 to 12: what is proved is what is computed, each closed form against the package's numbers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import (
    causal_decay,
    euclidean_decay,
    gaussian,
    gaussian_mixture,
    manhattan_decay,
    two_sided_decay,
)
from retconv.masks import GaussianMixtureMask, RetNetMask
from retconv.operators import operator
from tests.proofs.closed_forms import (
    CLOSE,
    angles,
    assert_same,
    check_causal_inverse,
    drawn,
    f64,
    form,
    gammas,
    line,
    sigmas,
    width,
)
from tests.strategies import normal, seeds


def wave(kernel: Tensor, theta: float) -> complex:
    """``Σ_δ K[δ] e^{iδθ}`` of a kernel on a long line."""
    return complex((kernel * torch.exp(1j * line((len(kernel) + 1) // 2) * theta)).sum())


# --- laws 6 and 7 ---------------------------------------------------------------------------------------------------


@drawn
@given(gamma=gammas, theta=angles)
def test_law_6_transfer_function(gamma: float, theta: float) -> None:
    kernel = causal_decay(line()[:, None], f64([gamma]))[0]
    z = complex(math.cos(theta), math.sin(theta))
    assert_same(form("causal_transfer", "H", "gamma", "z")(gamma, z), wave(kernel, theta))


@drawn
@given(gamma=gammas, n=st.integers(1, 9))
def test_law_6_inverse(gamma: float, n: int) -> None:
    check_causal_inverse(gamma, n)


@drawn
@given(gamma=gammas, seed=seeds)
def test_law_6_recurrence(gamma: float, seed: int) -> None:
    mask = RetNetMask(1, gamma=gamma).double()
    x, y, state = normal(seed, 1, 12, 2), [], np.zeros(2)
    update = form("causal_recurrence", "update", "gamma", "y_{n-1}", "x_n")
    for token in x[0].numpy():
        y.append(state := update(float(mask.gamma), state, token))
    assert_same(y, (operator(mask, 12, "recursive") @ x)[0])


@drawn
@given(gamma=gammas, theta=angles)
def test_law_7_symbol_and_its_range(gamma: float, theta: float) -> None:
    kernel = two_sided_decay(line()[:, None], f64([gamma]))[0]
    assert_same(form("two_sided_symbol", "symbol", "gamma", "theta")(gamma, theta), wave(kernel, theta))
    assert_same(form("two_sided_range", "upper", "gamma")(gamma), wave(kernel, 0.0))
    assert_same(form("two_sided_range", "lower", "gamma")(gamma), wave(kernel, math.pi))


@drawn
@given(gamma=gammas, n=st.integers(2, 9))
def test_law_7_inverse_and_eigenvalues(gamma: float, n: int) -> None:
    inner, corner, beside = (form("two_sided_inverse", f, "gamma")(gamma) for f in ("inner", "corner", "beside"))
    inverse = np.diag([corner, *[inner] * (n - 2), corner]) + beside * (np.eye(n, k=1) + np.eye(n, k=-1))
    mask = kernel_to_mask(two_sided_decay(line(n)[:, None], f64([gamma])), n)[0]
    assert_same(inverse, torch.linalg.inv(mask))
    lower, upper = (form("two_sided_eigenvalues", name, "gamma")(gamma) for name in ("lower", "upper"))
    values = torch.linalg.eigvalsh(mask)
    assert lower < float(values.min()) < float(values.max()) < upper


# --- laws 8 and 9 ---------------------------------------------------------------------------------------------------


@drawn
@given(gamma=gammas)
def test_law_8_manhattan_and_euclidean_decay(gamma: float) -> None:
    offset = Grid((3, 5)).offsets()
    factor = form("manhattan_separates", "factor", "gamma", "a")
    outer = np.outer(factor(gamma, np.arange(-2, 3)), factor(gamma, np.arange(-4, 5)))
    assert_same(outer, manhattan_decay(offset, f64([gamma]))[0])
    k = euclidean_decay(offset, f64([gamma]))[0, 2:, 4:]
    ratio = form("euclidean_does_not_separate", "ratio", "lambda")(-math.log(gamma))
    assert_same(ratio, (k[0, 0] * k[1, 1] / (k[0, 1] * k[1, 0])).log())


@drawn
@given(sigma=sigmas)
def test_law_9_gaussians_separate(sigma: float) -> None:
    factor = form("gaussian_separates", "factor", "sigma", "a")
    outer = np.outer(factor(width(sigma), np.arange(-2, 3)), factor(width(sigma), np.arange(-4, 5)))
    assert_same(outer, gaussian(Grid((3, 5)).offsets(), f64([sigma]))[0])


@drawn
@given(seed=seeds)
def test_law_9_mixture_is_a_sum_of_outer_products(seed: int) -> None:
    alpha, sigma = normal(seed, 1, 3), normal(seed + 1, 1, 3)
    mask = GaussianMixtureMask.from_parameters(sigma, alpha)
    down = form("mixture_rank", "down", "alpha[c]", "sigma[c]", "a")
    right = form("mixture_rank", "right", "sigma[c]", "b")
    widths = np.array([[width(s)] for s in sigma[0].tolist()])
    factors = mask.separable((3, 5))
    assert factors is not None
    assert_same(down(alpha[0, :, None].numpy(), widths, np.arange(-2, 3)), factors.factors[0][0].detach())
    assert_same(right(widths, np.arange(-4, 5)), factors.factors[1][0].detach())


@drawn
@given(sigma=sigmas, theta=angles, other=angles)
def test_law_9_symbols(sigma: float, theta: float, other: float) -> None:
    """Poisson summation over 81 copies against the sum over offsets; on a plane the product of both axes."""
    kernel = gaussian(line(64)[:, None], f64([sigma]))[0]
    transform = form("gaussian_symbol", "transform", "sigma", "omega")
    assert_same(transform(width(sigma), theta + 2 * math.pi * np.arange(-40, 41)).sum(), wave(kernel, theta))
    offset = Grid((40, 40)).offsets().double()
    factor = form("mixture_symbol", "factor", "sigma", "a", "theta")
    steps = np.arange(-39, 40)
    product = 0.6 * factor(width(sigma), steps, theta).sum() * factor(width(sigma), steps, other).sum()
    plane = gaussian_mixture(offset, f64([[sigma]]), f64([[0.6]]))[0]
    phase = torch.exp(1j * (offset[..., 0] * theta + offset[..., 1] * other))
    assert_same(product, complex((plane * phase).sum()))


# --- laws 10 to 12 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(9,), (4, 6), (3, 3, 3)])
@pytest.mark.parametrize("sigma", [0.15, 0.2, 0.3])
def test_law_10_distance_from_minus_identity(shape: tuple[int, ...], sigma: float) -> None:
    """A bound in operator norm, and no more than 5 % above the kernel's ℓ1 norm."""
    ratio = math.exp(-0.5 / width(sigma) ** 2)
    bound = form("narrow_gaussian", "distance", "alpha", "r", "D")(0.8, ratio, len(shape))
    kernel = gaussian_mixture(Grid(shape).offsets(), f64([[sigma]]), f64([[-0.8]]))
    mask = kernel_to_mask(kernel, shape)[0]
    assert float(torch.linalg.matrix_norm(mask + 0.8 * torch.eye(len(mask), dtype=torch.float64), ord=2)) <= bound
    mass = float(kernel.abs().sum() - 0.8)
    assert mass * (1 - CLOSE) <= bound + 1e-15
    assert bound <= 1.05 * mass + 1e-14


def test_laws_10_and_11_self_weight() -> None:
    mask = GaussianMixtureMask.from_parameters(f64([[2.0, 0.2]]), f64([[0.6, -0.8]]))((3, 4))[0].detach()
    assert_same(mask.diagonal(), np.full(12, form("extroversion", "self_weight")()))
    assert_same(mask.diagonal(), np.full(12, form("signed_mixture", "form")()))


@drawn
@given(sigma=sigmas, q=st.integers(0, 6), k=st.integers(0, 6))
def test_law_11_gram(sigma: float, q: int, k: int) -> None:

    def bumps(t: float) -> float:
        return math.exp(-((q - t) ** 2 + (k - t) ** 2) / width(sigma) ** 2)

    middle = (q + k) / 2
    integral = quad(bumps, middle - 12 * width(sigma), middle + 12 * width(sigma), epsabs=1e-13, epsrel=1e-13)[0]
    norm = form("gaussian_gram", "norm", "sigma")(width(sigma))
    assert_same(norm * integral, gaussian(f64([[k - q]]), f64([sigma]))[0, 0])


@drawn
@given(seed=seeds)
def test_law_11_schur_product(seed: int) -> None:
    x, first, second = normal(seed, 7), normal(seed + 1, 7, 4), normal(seed + 2, 7, 5)
    feature = form("schur_product", "feature", "x[q]", "f[q]", "g[q]")
    squares = feature(x[:, None, None].numpy(), first[:, :, None].numpy(), second[:, None].numpy()).sum(axis=0) ** 2
    assert_same(squares.sum(), x @ ((first @ first.mT) * (second @ second.mT)) @ x)


@drawn
@given(gamma=gammas, epsilon=st.floats(1e-6, 0.9), radius=st.integers(0, 20))
@pytest.mark.parametrize(("proof", "decay"), [("causal_tail", causal_decay), ("two_sided_tail", two_sided_decay)])
def test_law_12_decay(proof: str, decay: Callable[..., Tensor], gamma: float, epsilon: float, radius: int) -> None:
    kernel, distance = decay(line()[:, None], f64([gamma]))[0], line().abs()
    assert_same(form(proof, "total", "gamma")(gamma), kernel.sum())
    assert_same(form(proof, "tail", "gamma", "r")(gamma, radius), kernel[distance > radius].sum())
    real = form(proof, "radius", "gamma", "epsilon")(gamma, epsilon)
    assert max(0, math.ceil(real)) == smallest_radius(kernel, epsilon)


@drawn
@given(sigma=sigmas, epsilon=st.floats(1e-6, 0.9), radius=st.integers(1, 12))
def test_law_12_gaussian(sigma: float, epsilon: float, radius: int) -> None:
    """From above: the bound is never below the tail, nor the size below the smallest one by more than one step."""
    kernel, distance = gaussian(line(64)[:, None], f64([sigma]))[0], line(64).abs()
    bound = form("gaussian_tail", "bound", "sigma", "r")(width(sigma), radius)
    assert float(kernel[distance > radius].sum() / kernel.sum()) <= bound + 1e-16
    assert bound <= math.erfc(radius / (math.sqrt(2) * width(sigma))) * (1 + CLOSE)
    size = math.ceil(form("gaussian_tail", "radius", "sigma", "epsilon")(width(sigma), epsilon))
    assert smallest_radius(kernel, epsilon) <= size <= smallest_radius(kernel, epsilon) + 1


def smallest_radius(kernel: Tensor, epsilon: float) -> int:
    """By trial: the first radius beyond which at most the share ε of the kernel's mass lies."""
    distance = line((len(kernel) + 1) // 2).abs()
    shares = (float(kernel[distance > r].sum() / kernel.sum()) for r in range(len(kernel)))
    return next(r for r, share in enumerate(shares) if share <= epsilon)
