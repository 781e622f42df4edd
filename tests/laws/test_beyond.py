"""Law 24: on the grid recurrences of a kernel may agree to every digit; beyond it each goes its own way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retconv.approximate import balanced_truncation, decay_sum, real_poles, roots_of_unity
from tests.approximate import naive_states
from tests.approximate.cases import causal, truth
from tests.compare import assert_close
from tests.strategies import HEADS, normal, seeds

N = 512
GAUSSIAN = causal(truth("gaussian", N))


@settings(max_examples=10)
@given(size=st.integers(1, 20), seed=seeds)
def test_law_24_roots_of_unity_have_a_period_and_sum_to_zero_over_it(size: int, seed: int) -> None:
    """Exact at the distances 0 … n − 1, −ΣK at n, and from n + 1 on the same again, as by a loop."""
    kernel = causal(normal(seed, HEADS, size))
    response = roots_of_unity(kernel).response(3 * size + 3)
    taps = kernel[:, :size].flip(1)
    once = torch.cat([taps, -taps.sum(dim=1, keepdim=True)], dim=1)
    assert_close(response, once.repeat(1, 3))
    assert_close(response, [naive_states.roots_of_unity(head.tolist(), 3 * size + 3) for head in taps])


def test_law_24_a_gaussian_by_roots_of_unity_has_minus_50_at_its_end() -> None:
    """σ = 40 on 512 tokens, where the Gaussian itself is 2.6e-36."""
    fit = roots_of_unity(GAUSSIAN)
    assert float(fit.response(N + 1)[0, N]) == pytest.approx(-50.63, abs=0.01)
    assert float(fit.relative) < 1e-12
    assert float(fit.beyond(truth("gaussian", 4 * N))) == pytest.approx(6.0, abs=1e-6)  # three periods, twice ‖K‖₁ each
    assert float(truth("gaussian", N + 1)[0, N]) < 1e-35


@pytest.mark.parametrize("tokens", [2 * N, 4 * N])
def test_law_24_a_certified_sum_of_decays_goes_on(tokens: int) -> None:
    """It decays as the Gaussian does, with less error beyond the grid than on it."""
    fit = decay_sum(GAUSSIAN, tolerance=1e-6)
    assert int(fit.states) == 8
    assert float(fit.beyond(truth("gaussian", tokens))) < 1e-12
    assert bool((fit.exponentials.past_poles.abs() < 1).all())
    assert float(fit.response(tokens)[0, -1].abs()) < 1e-12


def test_law_24_balanced_truncation_goes_on_with_zeros() -> None:
    """Right for a kernel that has died away, wrong for one with a heavy tail."""
    fits = {name: balanced_truncation(causal(truth(name, N)), tolerance=1e-2) for name in ("gaussian", "power 1/2")}
    error = {name: float(fit.beyond(truth(name, 4 * N))) for name, fit in fits.items()}
    assert error["gaussian"] < 1e-8
    assert error["power 1/2"] > 0.9
    tail = float(truth("power 1/2", 4 * N)[0, N:].sum() / truth("power 1/2", N).sum())
    assert error["power 1/2"] == pytest.approx(tail, rel=0.1)


def test_law_24_fixed_real_poles_cancel_on_the_grid_alone() -> None:
    """Of a Gaussian, with weights of a million; of a power law, a positive mixture of decays, they go on well."""
    gaussian = real_poles(GAUSSIAN, tolerance=1e-4)
    assert float(gaussian.growth) > 1e6
    assert float(gaussian.beyond(truth("gaussian", 2 * N))) > 10
    power = real_poles(causal(truth("power 1/2", N)), tolerance=1e-4)
    assert float(power.growth) < 2
    assert float(power.beyond(truth("power 1/2", 2 * N))) < 0.01


def test_law_24_no_way_has_the_fewest_states_for_every_kernel() -> None:
    """To a relative ℓ1 error of 1e-4 on 512 tokens; ETSC has 512 always."""
    ways = {"balanced": balanced_truncation, "real": real_poles, "decays": decay_sum}
    expected = {
        "gaussian": {"balanced": 5, "real": 26, "decays": 6},
        "power 1/2": {"real": 10, "decays": 8},
        "bumps": {"balanced": 13, "decays": 12},
    }
    for name, counts in expected.items():
        kernel = causal(truth(name, N))
        measured = {way: int(ways[way](kernel, tolerance=1e-4).states) for way in counts}
        # Fixed poles are nearly dependent, and rounding moves their count a little.
        slack = {way: 3 if way == "real" else 0 for way in counts}
        assert all(abs(measured[way] - counts[way]) <= slack[way] for way in counts), (name, measured)
