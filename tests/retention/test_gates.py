"""Retention with gates: all forms are the loop's recurrence, from any state and to any."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels import Decay, Gates
from retconv.retention import chunkwise, gated, recurrent, retention
from tests.compare import assert_close, assert_exact
from tests.kernels import naive_gates
from tests.kernels.gates import BATCH, log_gates, open_gates
from tests.retention.cases import inputs
from tests.strategies import HEADS, normal, on_grids, uniform

F64 = torch.float64
FORMS = {"recurrent": recurrent, "chunkwise": chunkwise}


def dense(q: Tensor, k: Tensor, v: Tensor, gates: Gates, scale: float) -> Tensor:
    """``(S ⊙ M) V`` with the loops' mask."""
    logs = gates.log_gamma.expand(len(q), HEADS, -1).flatten(0, 1).tolist()
    mask = torch.tensor([naive_gates.line(x, gates.causal) for x in logs], dtype=F64).unflatten(0, (len(q), HEADS))
    return (scale * q.double() @ k.double().mT * mask) @ v.double()


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("method", ["parallel", "recurrent", "chunkwise", "auto"])
@settings(max_examples=8)
@on_grids((1,))
def test_every_form_is_the_recurrence(shape: tuple[int], seed: int, method: str, dtype: torch.dtype) -> None:
    logs, (q, k, v) = log_gates(seed, shape[0], dtype=dtype), inputs(shape[0], seed, dtype)
    out = retention(q, k, v, Gates(logs), shape, method=method, chunk=1 + seed % 4, scale=0.7)
    rows = [
        naive_gates.retention(*(x[b, h].tolist() for x in (q, k, v)), logs[b, h].tolist(), 0.7)
        for b in range(BATCH)
        for h in range(HEADS)
    ]
    assert out.dtype == dtype
    assert_close(out.flatten(0, 1), rows)


@pytest.mark.parametrize("group", [1, 2, 16])
@pytest.mark.parametrize("method", ["parallel", "scan", "auto"])
@pytest.mark.parametrize("front", [(BATCH, HEADS), (HEADS,), (1,), (1, HEADS), (BATCH, 1)])
def test_two_sided_gates(front: tuple[int, ...], method: str, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gated, "GROUP", group)
    q, k, v = inputs(23, 0)
    logs = log_gates(1, 23)
    gates = Gates(logs[: front[0], : front[1]] if len(front) > 1 else logs[0, : front[0]])
    for one in (gates, Gates(gates.log_gamma, causal=False)):
        name = {"scan": "chunkwise"}.get(method, method) if one.causal else method
        assert_close(retention(q, k, v, one, 23, method=name, chunk=3, scale=0.7), dense(q, k, v, one, 0.7))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [F64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cut", [1, 5, 19])
def test_a_sequence_goes_on_from_its_state(form: str, dtype: torch.dtype, cut: int) -> None:
    """Cut anywhere and continued by either form; of ``recurrent`` no bit changes."""
    logs, qkv = log_gates(2, 20).to(dtype), inputs(20, 2, dtype)
    whole, last = FORMS[form](*qkv, Gates(logs))
    first, state = FORMS[form](*(x[:, :, :cut] for x in qkv), Gates(logs[..., :cut]))
    for name, go_on in FORMS.items():
        rest, end = go_on(*(x[:, :, cut:] for x in qkv), Gates(logs[..., cut:]), state)
        assert end.position == last.position == 20
        if name == form == "recurrent":
            assert_exact(torch.cat([first, rest], dim=2), whole)
            assert_exact(end.memory, last.memory)
        budget = torch.float32 if dtype != F64 else F64
        assert_close(end.memory, last.memory, budget)
        assert_close(torch.cat([first, rest], dim=2), whole, dtype)


def test_equal_gates_are_retention_with_the_decay() -> None:
    gamma = uniform(0, 0.5, 1.0, HEADS)
    qkv = inputs(40, 0)
    gates = Gates(gamma.log()[:, None].expand(-1, 40))
    for method in ("parallel", "chunkwise", "recurrent"):
        expected = retention(*qkv, Decay(gamma, causal=True), 40, method=method)
        assert_close(retention(*qkv, gates, 40, method=method), expected)


@pytest.mark.parametrize("method", ["parallel", "recurrent", "chunkwise", "scan"])
def test_gradients_are_those_of_differences(method: str) -> None:
    """In q, k, v and gates, over several groups of chunks."""
    causal = method != "scan"
    logs = open_gates(0, 1, HEADS, 5).requires_grad_()
    qkv = [normal(i, 1, HEADS, 5, 2).requires_grad_() for i in range(3)]

    def run(q: Tensor, k: Tensor, v: Tensor, x: Tensor) -> Tensor:
        return retention(q, k, v, Gates(x, causal), 5, method=method, chunk=2)

    assert torch.autograd.gradcheck(run, (*qkv, logs))
    slope = torch.autograd.grad(run(*qkv, logs).sum(), logs)[0]
    assert_exact(slope[..., 0], torch.zeros(1, HEADS))


def test_a_state_has_a_gradient_in_the_first_gate() -> None:
    """It acts on what is carried over, in both forms alike."""
    logs = open_gates(0, BATCH, HEADS, 6).requires_grad_()
    qkv = inputs(6, 0)
    _, state = recurrent(*qkv, Gates(open_gates(1, BATCH, HEADS, 6)))
    slopes = [torch.autograd.grad(f(*qkv, Gates(logs), state)[0].sum(), logs)[0] for f in FORMS.values()]
    assert_close(slopes[0], slopes[1])
    assert bool((slopes[0][..., 0] != 0).all())


def test_float32_keeps_its_tolerance_on_a_long_line() -> None:
    """Slow and strong gates by turns over 65,536 tokens: no sum of logarithms and no state drifts."""
    size = 2**16
    logs = -uniform(0, 0, 1e-4, 1, 2, size)
    logs[..., ::5000] = -30.0
    qkv = [normal(i, 1, 2, size, 2).float() for i in range(3)]
    out = retention(*qkv, Gates(logs.float()), size, method="chunkwise")
    wide = (x.double() for x in qkv)
    assert_close(out, retention(*wide, Gates(logs.float().double()), size, method="chunkwise", chunk=100))


def test_gates_that_would_overflow_as_quotients() -> None:
    """Products of a chunk of 1e-300 each, whose inverses are beyond all numbers."""
    logs = torch.full((1, 1, 64), -690.0, dtype=F64)
    q, k, v = (normal(i, 1, 1, 64, 3) for i in range(3))
    out = retention(q, k, v, Gates(logs), Grid(64), method="chunkwise", scale=1.0)
    assert_close(out, (q * k).sum(dim=-1, keepdim=True) * v)
