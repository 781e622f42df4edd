"""Recurrences of published kinds: each is what its source says, and its account of error is true."""

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from retconv.approximate import Realisation, balanced_truncation, decay_sum, exponentials, real_poles, roots_of_unity
from retconv.approximate.states import FASTEST, SLOWEST
from retconv.checks import tolerance
from retconv.retention import recurrent, retention
from tests.approximate import naive as naive_approximate
from tests.approximate import naive_states
from tests.approximate.cases import F64, causal, truth
from tests.compare import assert_close, assert_exact
from tests.retention.cases import AGREE, inputs
from tests.strategies import DTYPES, HEADS, normal, seeds


def check_account(fit: Realisation, kernel: Tensor, tokens: int = 40) -> None:
    """Response by stepped states, certificate, states and error beyond, by loops."""
    for h in range(len(kernel)):
        weights, poles = (t[h].tolist() for t in (fit.exponentials.past_weights, fit.exponentials.past_poles))
        response = naive_states.impulse(weights, poles, tokens)
        scale = sum(abs(w) for w in weights) or 1.0
        assert float((fit.response(tokens)[h] - torch.tensor(response, dtype=F64)).abs().max()) <= 1e-12 * scale
        used = [p for w, p in zip(weights, poles, strict=True) if w]
        assert int(fit.states[h]) == sum(1 if p.imag == 0 else 2 for p in used)
        assert float(fit.growth[h]) == pytest.approx(scale / float(fit.kernel[h].abs().max()), rel=1e-6)
    size = kernel.shape[1] // 2 + 1
    error = (kernel.double() - fit.kernel.double()).abs().sum(dim=1)
    assert_close(fit.certificate, error, F64)
    assert float(fit.kernel[:, size:].abs().sum()) == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 12])
@settings(max_examples=4)
@given(seed=seeds)
def test_roots_of_unity_are_those_of_the_loop(size: int, dtype: torch.dtype, seed: int) -> None:
    kernel = causal(normal(seed, HEADS, size, dtype=dtype))
    fit = roots_of_unity(kernel)
    assert fit.kernel.dtype == dtype
    for h in range(HEADS):
        taps = kernel[h, :size].flip(0).tolist()
        assert_close(fit.response(3 * size + 4)[h], naive_states.roots_of_unity(taps, 3 * size + 4))
    assert_close(fit.kernel, kernel)
    assert fit.states.tolist() == [size] * HEADS
    assert fit.exponentials.order == (size + 1) // 2
    check_account(fit, kernel)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=4)
@given(seed=seeds)
def test_weights_of_fixed_poles_are_the_least_squares_ones(dtype: torch.dtype, seed: int) -> None:
    kernel = causal(normal(seed, HEADS, 9, dtype=dtype))
    fit = real_poles(kernel, states=3)
    rates = [SLOWEST / 9 * (FASTEST * 9 / SLOWEST) ** (r / 2) for r in range(3)]
    columns = [[math.exp(-rate * m) for m in range(9)] for rate in rates]
    expected = [naive_states.least_squares(columns, kernel[h, :9].flip(0).tolist()) for h in range(HEADS)]
    assert_close(fit.exponentials.past_poles.real, [[math.exp(-rate) for rate in rates]] * HEADS, F64)
    assert float((fit.exponentials.past_weights.real - torch.tensor(expected, dtype=F64)).abs().max()) < 1e-9
    check_account(fit, kernel)


@pytest.mark.parametrize("states", [1, 2, 3, 5, 8])
@settings(max_examples=4)
@given(seed=seeds)
def test_balanced_truncation_lies_between_its_bounds(states: int, seed: int) -> None:
    """``s_{p+1} ≤ ‖symbol‖_∞ ≤ 2 Σ_{r>p} s_r`` over all distances, singular values by rotations."""
    size = 8
    kernel = causal(normal(seed, HEADS, size) * 0.8 ** torch.arange(size))
    fit = balanced_truncation(kernel, states=states)
    assert bool((fit.exponentials.past_poles.abs() < 1).all())
    check_account(fit, kernel)
    for h in range(HEADS):
        taps = kernel[h, :size].flip(0).tolist()
        padded = [*taps, *[0.0] * (size - 1)]
        values = naive_approximate.singular_values([padded[i : i + size] for i in range(size)])
        error = fit.response(400)[h] - torch.tensor([*taps, *[0.0] * (400 - size)], dtype=F64)
        largest = max(abs(naive_states.symbol(error.tolist(), math.pi * i / 64)) for i in range(65))
        # As many states as taps would only delay: there are fewer then.
        count = int(fit.states[h])
        assert count == min(states, 7)
        assert largest <= 2 * sum(values[count:]) * (1 + 1e-9)
        # The maximum over all frequencies is at most a little above that over these.
        assert values[count] <= largest * 1.01 + 1e-9


def test_a_decay_is_one_state() -> None:
    """Of a line that it does not outlive; by fixed poles it is many."""
    kernel = causal(torch.tensor([0.5, 0.8], dtype=F64)[:, None] ** torch.arange(200))
    for fit in (balanced_truncation(kernel, tolerance=1e-9), decay_sum(kernel, tolerance=1e-9)):
        assert fit.states.tolist() == [1, 1]
        assert_close(fit.exponentials.past_poles[:, 0].real, [0.5, 0.8])
    assert int(real_poles(kernel, tolerance=1e-6).states.min()) > 4


def test_decay_sum_is_the_certified_one() -> None:
    kernel = causal(torch.cat([truth("gaussian", 128), truth("decays", 128)]))
    fit, expected = decay_sum(kernel, tolerance=1e-5), exponentials(kernel, tolerance=1e-5)
    assert_exact(fit.kernel, expected.kernel)
    assert_exact(fit.relative, expected.relative)
    assert fit.states.tolist()[1] == 2
    check_account(fit, kernel)


@pytest.mark.parametrize("method", [balanced_truncation, real_poles, decay_sum])
def test_heads_reach_the_tolerance_each(method: object) -> None:
    kernel = causal(torch.cat([truth("gaussian", 128), truth("decays", 128)]))
    fit = method(kernel, tolerance=1e-2)  # type: ignore[operator]
    assert float(fit.relative.max()) <= 1e-2
    alone = [int(method(head[None], tolerance=1e-2).states) for head in kernel]  # type: ignore[operator]
    assert fit.states.tolist() == alone


@pytest.mark.parametrize("method", [balanced_truncation, real_poles, decay_sum, roots_of_unity])
def test_zero_is_zero(method: object) -> None:
    more = {} if method is roots_of_unity else {"order": 1} if method is decay_sum else {"states": 1}
    fit = method(torch.zeros(HEADS, 5), **more)  # type: ignore[operator]
    assert_exact(fit.kernel, torch.zeros(HEADS, 5))
    assert bool(torch.isfinite(fit.response(9)).all())
    assert fit.growth.tolist() == [0.0] * HEADS


def test_each_runs_as_retention() -> None:
    """Token by token what the kernel gives in parallel, up to the certificate."""
    kernel = causal(torch.cat([truth("gaussian", 24), truth("decays", 24)]))
    q, k, v = inputs(24, 0)
    expected = retention(q, k, v, kernel, 24, method="parallel")
    out, _ = recurrent(q, k, v, roots_of_unity(kernel).exponentials)
    assert float((out - expected).abs().max() / expected.abs().max()) < AGREE
    for fit in (balanced_truncation(kernel, states=4), real_poles(kernel, states=12), decay_sum(kernel, order=2)):
        out, _ = recurrent(q, k, v, fit.exponentials)
        nearly = retention(q, k, v, fit.kernel, 24, method="parallel")
        bound = tolerance(F64) * max(1.0, float(fit.growth.max())) * float(expected.abs().max())
        assert float((out - nearly).abs().max()) <= bound


def test_error_beyond_is_the_sum_of_the_definition() -> None:
    kernel = causal(normal(0, HEADS, 6))
    fit, longer = balanced_truncation(kernel, states=2), normal(1, HEADS, 15)
    response = fit.response(15)
    for h in range(HEADS):
        error = sum(abs(float(response[h, m] - longer[h, m])) for m in range(6, 15))
        assert float(fit.beyond(longer)[h]) == pytest.approx(error / sum(abs(float(longer[h, m])) for m in range(6)))
