"""Long sequences and slow decays in float32: roundings of the same sign, token after token, must not add up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from retconv.checks import relative_error, tolerance
from retconv.kernels import Exponentials
from retconv.masks import DecayMask, MaskLike, RetNetMask
from retconv.retention import chunkwise, recurrent, retention
from tests.compare import assert_close
from tests.strategies import seeds, uniform

LONG = 65_536
BOUND = tolerance(torch.float32)

#: 1 − γ from 1e-9, which float32 rounds to 0, to a tenth.
slow = st.floats(-9, -1).map(lambda exponent: 1 - 10**exponent)
#: All numbers alike, where every rounding has one sign, or drawn.
drawn = st.booleans()


def tokens(size: int, seed: int, alike: bool) -> list[Tensor]:
    """q, k and v of two features."""
    low = 1.0 if alike else -1.0
    return [uniform(seed + i, low, 1.0, 1, 1, size, 2, dtype=torch.float32) for i in range(3)]


def masks(gamma: float) -> dict[str, MaskLike]:
    """A causal decay, one on both sides, and two complex poles, one of them nearly real."""
    poles = torch.polar(torch.tensor([[gamma, gamma]], dtype=torch.float64), torch.tensor([[1e-5, 0.7]]).double())
    return {
        "chunkwise": RetNetMask(1, gamma=gamma),
        "scan": DecayMask(1, gamma=gamma),
        "poles": Exponentials(torch.ones_like(poles), poles),
    }


@settings(max_examples=12)
@given(gamma=slow, alike=drawn, seed=seeds, chunk=st.sampled_from([None, 1, 7, 64, 1000]))
@example(gamma=1 - 1e-6, alike=True, seed=0, chunk=None)
@example(gamma=1 - 1e-9, alike=True, seed=0, chunk=7)
def test_chunks_keep_the_tolerance_of_float32(gamma: float, alike: bool, seed: int, chunk: int | None) -> None:
    """Outputs of every linear form in chunks, against float64, at 65,536 tokens."""
    given_tokens = tokens(LONG, seed, alike)
    wide = [t.double() for t in given_tokens]
    for name, mask in masks(gamma).items():
        method = "chunkwise" if name == "poles" else name
        expected = retention(*wide, mask, LONG, method=method)
        assert relative_error(retention(*given_tokens, mask, LONG, method=method, chunk=chunk), expected) <= BOUND, name


@settings(max_examples=2)
@given(gamma=slow, alike=drawn, seed=seeds, cuts=st.sampled_from([1, 3, 64]))
@example(gamma=1 - 1e-6, alike=True, seed=0, cuts=1)
@example(gamma=1 - 1e-9, alike=True, seed=1, cuts=64)
def test_states_keep_the_tolerance_of_float32(gamma: float, alike: bool, seed: int, cuts: int) -> None:
    """What a long prompt leaves behind, read at once or in parts."""
    q, k, v = tokens(LONG, seed, alike)
    for name in ("chunkwise", "poles"):
        mask, state = masks(gamma)[name], None
        expected, last = chunkwise(q.double(), k.double(), v.double(), mask)
        outs = []
        for part in zip(*(t.tensor_split(cuts, dim=2) for t in (q, k, v)), strict=True):
            out, state = chunkwise(*part, mask, state)
            outs.append(out)
        assert state is not None
        assert relative_error(torch.cat(outs, dim=2), expected) <= BOUND
        assert relative_error(state.memory, last.memory) <= BOUND


@pytest.mark.parametrize("method", ["chunkwise", "scan"])
def test_gradients_keep_the_tolerance_of_float32(method: str) -> None:
    """With autograd watching, the states take another way."""
    given_tokens, found = tokens(LONG, 0, True), []
    for dtype in (torch.float32, torch.float64):
        mask = masks(1 - 1e-6)[method]
        leaves = [t.to(dtype).requires_grad_() for t in given_tokens]
        out = retention(*leaves, mask, LONG, method=method)
        found.append([out.detach(), *torch.autograd.grad(out.sum(), leaves)])
    for actual, expected in zip(*found, strict=True):
        assert relative_error(actual, expected) <= BOUND


@settings(max_examples=10)
@given(gamma=slow, alike=drawn, seed=seeds, size=st.sampled_from([10, 1000, 4096]))
def test_a_recurrence_keeps_the_budget_that_it_states(gamma: float, alike: bool, seed: int, size: int) -> None:
    """2^−22 a token, of the largest output."""
    given_tokens = tokens(size, seed, alike)
    wide = [t.double() for t in given_tokens]
    for name in ("chunkwise", "poles"):
        expected = retention(*wide, masks(gamma)[name], size, method="chunkwise")
        error = relative_error(recurrent(*given_tokens, masks(gamma)[name])[0], expected)
        assert error <= max(BOUND, 2.0**-22 * size)


def test_a_state_weighs_what_came_before_by_the_power_of_its_distance() -> None:
    """One token among zeros, in every place of chunks of 3: λ^(N − 1 − n) by Python's floats."""
    gamma, size = 0.7, 8
    mask = RetNetMask(1, gamma=gamma).double()
    for place in range(size):
        k = torch.zeros(1, 1, size, 1, dtype=torch.float64)
        k[0, 0, place] = 1
        _, state = chunkwise(k, k, k, mask, chunk=3)
        again = chunkwise(0 * k, 0 * k, 0 * k, mask, state, chunk=3)[1].memory
        weight = float(mask.gamma) ** (size - 1 - place)
        assert_close(torch.stack([state.memory, again]).flatten(), [weight, weight * float(mask.gamma) ** size])
