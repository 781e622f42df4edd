"""Sums of complex exponentials against their definition, term by term."""

import cmath

import pytest
import torch

from retconv.kernels import Exponentials, causal_decay
from tests.compare import assert_close

WEIGHTS = [[1.0 + 0.5j, -0.3], [0.2, 2.0 - 1.0j]]
POLES = [[0.9 * cmath.exp(0.4j), 0.5], [0.99, 0.3 * cmath.exp(2j)]]


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("causal", [True, False])
def test_kernel_is_the_sum_of_its_terms(n: int, causal: bool) -> None:
    weights, poles = torch.tensor(WEIGHTS, dtype=torch.complex128), torch.tensor(POLES, dtype=torch.complex128)
    future = (None, None) if causal else (weights.flip(1), poles.flip(0))
    rows = []
    for h in range(2):
        row = []
        for delta in range(1 - n, n):
            w, p = (WEIGHTS[h], POLES[h]) if delta <= 0 else (WEIGHTS[h][::-1], POLES[1 - h])
            terms = [(a * b ** abs(delta)).real for a, b in zip(w, p, strict=True)]
            row.append(0.0 if causal and delta > 0 else sum(terms))
        rows.append(row)
    made = Exponentials(weights, poles, *future)
    assert made.causal is causal
    assert made.order == 2
    assert_close(made.kernel(n), rows)


def test_one_real_pole_is_retnet() -> None:
    gamma = torch.tensor([[0.7], [0.95]], dtype=torch.complex128)
    expected = causal_decay(torch.arange(-5, 6)[:, None], gamma.real[:, 0])
    assert_close(Exponentials(torch.ones_like(gamma), gamma).kernel(6), expected)


def test_a_pole_of_zero_is_the_identity() -> None:
    """0⁰ = 1: what the closed form means, though torch's complex power says NaN."""
    made = Exponentials(torch.full((2, 1), 3.0 + 0j), torch.zeros(2, 1, dtype=torch.complex128))
    assert_close(made.kernel(3), [[0.0, 0.0, 3.0, 0.0, 0.0]] * 2)


def test_a_pole_at_zero_has_a_finite_kernel_and_gradient() -> None:
    """Its kernel is the weight at offset 0, and the slope of λ at offset −1 is the weight."""
    poles = torch.zeros(1, 1, dtype=torch.complex128, requires_grad=True)
    weights = torch.full((1, 1), 2.0, dtype=torch.complex128)
    kernel = Exponentials(weights, poles).kernel(4)
    assert kernel.tolist() == [[0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]]
    (slope,) = torch.autograd.grad(kernel[0, 2], poles)
    assert slope.item() == 2.0


def test_powers_of_a_pole_of_single_precision_are_taken_in_double() -> None:
    """Rounding of a pole grows with its power."""
    poles = torch.polar(torch.tensor([[1 - 1e-5]]), torch.tensor([[1.0]]))
    kernel = Exponentials(torch.ones_like(poles), poles).kernel(4096)
    wide = poles.to(torch.complex128)
    assert kernel.dtype == torch.float32
    assert_close(kernel, Exponentials(torch.ones_like(wide), wide).kernel(4096).float())
