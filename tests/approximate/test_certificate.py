"""Law 12: no certificate is below the true error, whatever was approximated, and rounding does not make it so."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from retconv.approximate import Approximation, exponentials, fit_decay, fit_gaussian_mixture, separate, truncate
from retconv.approximate.certificate import certify
from retconv.convert import kernel_to_mask
from tests.approximate import naive as naive_approximate
from tests.strategies import DTYPES, every_grid, kernel_of, normal, seeds, uniform

#: How each function is asked on random kernels, and on which grids; heads are the random kernels, fewer
#: where each is searched for: all are certified by the same function.
APPROXIMATIONS: dict[str, tuple[Callable[[Tensor], Approximation], tuple[tuple[int, ...], ...], int]] = {
    "truncate": (lambda k: truncate(k, size=3), ((9,), (3, 4), (2, 2, 3)), 1000),
    "truncate to a tolerance": (lambda k: truncate(k, tolerance=0.2), ((9,), (3, 4), (2, 2, 3)), 1000),
    "separate": (lambda k: separate(k, rank=1), ((9,), (3, 4), (2, 2, 3)), 1000),
    "exponentials": (lambda k: exponentials(k, order=1), ((4,),), 100),
    "gaussian mixture": (lambda k: fit_gaussian_mixture(k, 1, starts=1), ((4,), (2, 3)), 100),
    "decay": (fit_decay, ((4,), (2, 3)), 40),
}


def operator_norm(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """‖M‖₂ of each head's mask, by its singular values."""
    return torch.linalg.matrix_norm(kernel_to_mask(kernel.double(), shape), ord=2)


def check_certificate(kernel: Tensor, made: Approximation, shape: tuple[int, ...]) -> None:
    """The bound of law 12, and of the relative one with ‖K‖₁ in place of the norm."""
    error = operator_norm(kernel.double() - made.kernel.double(), shape)
    assert made.certificate.shape == error.shape
    assert bool((made.certificate >= error).all())
    norm = kernel.double().abs().flatten(1).sum(dim=1)
    assert bool((made.relative * norm >= error).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_law_12_certificate_is_never_below_the_operator_norm_error(name: str, dtype: torch.dtype) -> None:
    approximate, shapes, count = APPROXIMATIONS[name]
    for shape in shapes:
        kernel = kernel_of(shape, len(shape), dtype, heads=count if dtype == torch.float64 else count // 20)
        if len(shape) == 1:
            kernel[::2, shape[0] :] = 0  # every second one is causal
        check_certificate(kernel, approximate(kernel), shape)


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_certificate_is_never_below_the_exact_distance(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """In exact fractions, over magnitudes from 1e-24 to 1e24, where float sums do round."""
    magnitude = 10 ** (8 * normal(seed + 1, *(2 * n - 1 for n in shape)).clamp(-3, 3))
    kernel = (kernel_of(shape, seed) * magnitude).to(dtype)
    made = truncate(kernel, size=1)
    for head, cut, certificate, relative in zip(
        kernel, made.kernel, made.certificate.tolist(), made.relative.tolist(), strict=True
    ):
        values = head.flatten().tolist()
        exact = naive_approximate.l1_distance(values, cut.flatten().tolist())
        norm = naive_approximate.l1_distance(values, [0.0] * len(values))
        assert exact <= Fraction(certificate) <= exact * (1 + Fraction(1, 10**12))
        assert exact <= Fraction(relative) * norm <= exact * (1 + Fraction(1, 10**12))


#: Powers of ten from the smallest numbers of float64 to the largest.
powers = st.floats(-323, 308)


@given(powers, powers, powers, seeds)
@example(308.0, 308.0, 308.0, 0)
@example(308.0, -320.0, -320.0, 1)
@example(-323.0, -323.0, -323.0, 2)
def test_certificate_has_every_scale(inner: float, outer: float, other: float, seed: int) -> None:
    """Centre, rest and approximation each of a scale of its own: nothing overflows but a sum that no number holds."""
    largest, smallest = Fraction(torch.finfo(torch.float64).max), Fraction(torch.finfo(torch.float64).tiny)
    low, high = uniform(seed, -1.7, 1.7, 2, 11)
    kernel = (low * 10**outer)[None].clamp(-float(largest), float(largest))
    kernel[0, 5] = low[5] * 10**inner
    for approximation in (truncate(kernel, size=1).kernel, (high * 10**other)[None]):
        values, others = kernel[0].tolist(), approximation[0].tolist()
        exact = naive_approximate.l1_distance(values, others)
        norm = naive_approximate.l1_distance(values, [0.0] * len(values))
        made = certify(kernel, approximation)
        certificate, relative = float(made["certificate"]), float(made["relative"])
        above = 1 + Fraction(1, 10**12)
        if certificate == math.inf:
            assert exact * above > largest
        else:
            assert exact <= Fraction(certificate) <= exact * above
        if norm and exact / norm < largest / 2:
            assert exact <= Fraction(relative) * norm <= max(exact * above, smallest * norm)


def test_an_approximation_beyond_the_largest_number_has_no_finite_certificate() -> None:
    kernel = normal(0, 1, 17) * 1e305
    with np.errstate(over="ignore"):
        fit = exponentials(kernel, order=2)
    assert not bool(fit.kernel.isfinite().all())
    assert fit.certificate.tolist() == fit.relative.tolist() == [math.inf]


def test_certificate_is_attained() -> None:
    """The bound is sharp: on one token, and for a nonnegative kernel in the limit of long lines."""
    assert float(truncate(torch.tensor([[3.0]]), size=1).certificate) == 0
    kernel = torch.ones(1, 5, dtype=torch.float64)
    made = truncate(torch.nn.functional.pad(kernel, (200, 200)), size=3)
    error = operator_norm(torch.nn.functional.pad(kernel, (200, 200)) - made.kernel, (203,))
    assert 0.999 < float(error / made.certificate) <= 1
