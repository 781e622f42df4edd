"""Decoding, in place and by ``recurrent``, from its states and to them, compiled and by operations of torch."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retconv.kernels import Decay, Exponentials
from retconv.masks import MaskLike, RetNetMask
from retconv.operators import compiled
from retconv.retention import Decoder, chunkwise, recurrence, recurrent, retention
from tests.compare import assert_close, assert_exact
from tests.operators.cases import without_numba
from tests.retention import naive as naive_retention
from tests.retention.cases import complex_uniform, inputs
from tests.strategies import HEADS, normal, seeds, uniform

MASKS: dict[str, MaskLike] = {
    "retnet": RetNetMask(HEADS, torch.tensor([0.7, 1 - 1e-6])),
    "one head": Decay(torch.tensor([0.9]), causal=True),
    "real exponentials": Exponentials(uniform(0, -1, 1, HEADS, 3), uniform(1, -1, 1, HEADS, 3)),
    "complex exponentials": Exponentials(complex_uniform(0, HEADS, 3), complex_uniform(2, HEADS, 3)),
}
every_path = pytest.mark.parametrize("path", [nullcontext, without_numba])


@every_path
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MASKS)
@settings(max_examples=8)
@given(size=st.integers(1, 30), cut=st.floats(0, 1), seed=seeds)
def test_it_is_recurrent_and_a_cut_changes_no_bit(
    name: str, dtype: torch.dtype, path: type, size: int, cut: float, seed: int
) -> None:
    """Token by token or many at once, kept and continued; the state is one for ``recurrent``."""
    mask, at = MASKS[name], int(cut * (size - 1))
    q, k, v = inputs(size, seed, dtype)
    expected, end = recurrent(q, k, v, mask)
    with path():
        decoder = Decoder(mask)
        out = decoder.step(q, k, v)
        assert_close(out, expected)
        assert decoder.state is not None
        found, remembered = (torch.view_as_real(s.memory + 0j) for s in (decoder.state, end))
        assert_close(found, remembered)
        assert decoder.position == decoder.state.position == size
        first, steps = Decoder(mask), []
        for n in range(at):
            steps.append(first.step(q[:, :, n : n + 1], k[:, :, n : n + 1], v[:, :, n : n + 1]))
        second = Decoder(mask, first.state)
        steps.append(second.step(q[:, :, at:], k[:, :, at:], v[:, :, at:]))
        assert_exact(torch.cat(steps, dim=2), out)
        assert second.state is not None
        assert_exact(second.state.memory, decoder.state.memory)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MASKS)
@settings(max_examples=8)
@given(size=st.integers(2, 30), cut=st.floats(0, 1), seed=seeds)
def test_recurrent_is_the_same_compiled_or_not(name: str, dtype: torch.dtype, size: int, cut: float, seed: int) -> None:
    """And with gradients; a cut changes no bit of any, and no state that was given."""
    mask, at, (q, k, v) = MASKS[name], 1 + int(cut * (size - 2)), inputs(size, seed, dtype)
    expected, end = recurrent(q, k, v, mask)
    for path in (nullcontext, without_numba):
        for of in ((q, k, v), (q.clone().requires_grad_(), k, v)):
            with path():
                out, _ = recurrent(*of, mask)
                first, state = recurrent(*(t[:, :, :at] for t in of), mask)
                before = state.memory.clone()
                second, last = recurrent(*(t[:, :, at:] for t in of), mask, state)
            assert out.requires_grad == of[0].requires_grad
            assert_close(out, expected)
            found, remembered = (torch.view_as_real(s.memory + 0j) for s in (last, end))
            assert_close(found, remembered)
            assert_exact(torch.cat([first, second], dim=2), out)
            assert_exact(state.memory, before)


def test_recurrent_runs_compiled_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    loops = recurrence.in_loops
    monkeypatch.setattr(recurrence, "in_loops", lambda *given: runs.append(given) or loops(*given))
    q, k, v = inputs(3, 0)
    recurrent(q, k, v, MASKS["retnet"])
    retention(q, k, v, MASKS["retnet"], 3, method="recurrent")
    with torch.no_grad():
        recurrent(q.clone().requires_grad_(), k, v, MASKS["retnet"])
    assert len(runs) == 3
    recurrent(q.clone().requires_grad_(), k, v, MASKS["retnet"])
    recurrent(q, k, v, RetNetMask(HEADS, learnable=True))
    recurrent(q, k, v, MASKS["complex exponentials"])
    torch.vmap(lambda q: recurrent(q, k, v, MASKS["retnet"])[0])(q[None])
    assert len(runs) == 3


def test_a_scale_is_not_rounded_to_the_dtype_of_a_mask() -> None:
    """1/√3, of weights in float32, for inputs in float64."""
    (q, k, v), mask = inputs(20, 3), MASKS["one head"]
    expected = recurrent(q, k, v, mask, scale=1.0)[0] * q.shape[-1] ** -0.5
    assert_close(recurrent(q, k, v, mask)[0], expected)
    assert_close(Decoder(mask).step(q, k, v), expected)


@every_path
def test_it_is_the_loop_of_the_paper(path: type) -> None:
    """Eq. (6) on Python numbers, with the scale that is given."""
    gamma = uniform(0, 0.5, 0.9, HEADS)
    q, k, v = inputs(9, 0)
    with path():
        out = Decoder(Decay(gamma, causal=True), scale=0.7).step(q, k, v)
    for b in range(len(q)):
        for h, g in enumerate(gamma.tolist()):
            assert_close(out[b, h], naive_retention.recurrence(*(t[b, h].tolist() for t in (q, k, v)), g, 0.7))


@every_path
def test_a_given_state_stays_and_so_does_one_that_was_read(path: type) -> None:
    mask, (q, k, v) = MASKS["retnet"], inputs(5, 1, torch.float32)
    _, state = chunkwise(q, k, v, mask)
    before = state.memory.clone()
    with path():
        decoder = Decoder(mask, state)
        decoder.step(q, k, v)
        read = decoder.state
        assert read is not None
        kept = read.memory.clone()
        expected, _ = recurrent(q, k, v, mask, read)
        assert_close(decoder.step(q, k, v), expected)
    assert_exact(state.memory, before)
    assert_exact(read.memory, kept)
    assert Decoder(mask).state is None


@every_path
def test_strides_do_not_matter(path: type) -> None:
    """As of projections that were reshaped: tokens before heads, or heads before the batch; of complex poles too."""
    poles = Exponentials(torch.ones(1, 2) + 0j, torch.polar(torch.full((1, 2), 0.9), torch.tensor([[0.1, 0.2]])))
    for axes, shape in (((1, 2), (2, 6, HEADS, 4)), ((0, 1), (HEADS, 3, 6, 4))):
        tokens = [normal(i, *shape).transpose(*axes) for i in range(3)]
        for mask in (MASKS["retnet"], poles):
            with path():
                found, expected = (Decoder(mask).step(*given) for given in (tokens, [t.contiguous() for t in tokens]))
            assert_exact(found, expected)


def test_threads_share_the_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = inputs(3, 1)
    alone = Decoder(MASKS["retnet"]).step(q, k, v)
    monkeypatch.setattr(compiled, "ENTRIES", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_exact(Decoder(MASKS["retnet"]).step(q, k, v), alone)


@every_path
def test_a_decoder_is_a_snapshot_that_autograd_leaves_alone(path: type) -> None:
    """Of a mask that is learnt; in inference mode as well, and under autocast in its dtype."""
    mask, (q, k, v) = RetNetMask(HEADS, torch.tensor([0.7, 0.9]), learnable=True), inputs(4, 2, torch.float32)
    with torch.no_grad():
        expected, _ = recurrent(q, k, v, mask)
    with path():
        decoder = Decoder(mask)
        with torch.no_grad():
            for parameter in mask.parameters():
                parameter.add_(1.0)
            out = decoder.step(q.clone().requires_grad_(), k, v)
        assert not out.requires_grad
        assert_close(out, expected)
        with torch.inference_mode():
            decoder.step(q, k, v)
        assert decoder.position == 8
        decoder.step(q, k, v)
        with torch.autocast("cpu", torch.bfloat16):
            assert decoder.step(q, k, v).dtype == torch.bfloat16


@pytest.mark.parametrize("of_decay", [True, False])
def test_what_is_written_to_the_mask_later_is_not_seen(of_decay: bool) -> None:
    """Before the first token as after it, of tensors that the mask was made of."""
    poles, weights = uniform(0, 0.3, 0.9, HEADS, 2), uniform(1, 0.3, 0.9, HEADS, 2)
    mask: MaskLike = Decay(poles[:, 0], causal=True) if of_decay else Exponentials(weights, poles)
    q, k, v = inputs(4, 2)
    expected, _ = recurrent(q, k, v, mask)
    decoder = Decoder(mask)
    poles.zero_()
    assert_close(decoder.step(q, k, v), expected)


@every_path
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda decoder: pickle.loads(pickle.dumps(decoder))])
def test_a_copy_goes_on_by_itself(path: type, copied: Callable[[Decoder], Decoder]) -> None:
    """As the branches of a beam do."""
    q, k, v = inputs(6, seed=0)
    with path():
        whole = Decoder(MASKS["retnet"]).step(q, k, v)
        trunk = Decoder(MASKS["retnet"])
        trunk.step(*(x[:, :, :2] for x in (q, k, v)))
        branch = copied(trunk)
        branch.step(*(-x[:, :, 2:3] for x in (q, k, v)))
        assert_close(trunk.step(*(x[:, :, 2:3] for x in (q, k, v))), whole[:, :, 2:3])
        assert_close(copied(trunk).step(*(x[:, :, 3:] for x in (q, k, v))), whole[:, :, 3:])
        assert branch.position == 3
