"""Masks of each element of a batch: in every placement and backend what each element has alone, and the loops say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv.attention import BACKENDS, PLACEMENTS, attend
from retconv.attention.compiled_backend import LOOPS
from retconv.grid import Grid
from retconv.kernels import Gates, PolylineGates
from retconv.masks import Forms, MaskLike
from retconv.operators import compiled
from tests.attention import naive as naive_attention
from tests.attention.cases import SOFTMAX, qkv
from tests.compare import assert_close, assert_exact
from tests.kernels import naive_gates
from tests.kernels.gates import BATCH, log_gates, open_gates
from tests.strategies import HEADS, normal, on_grids

F64 = torch.float64
#: Backends that read entries.
DENSE = ("reference", "recompute", "sdpa", "auto")
every_placement = pytest.mark.parametrize("placement", PLACEMENTS)


def by_loops(placement: str, q: Tensor, k: Tensor, v: Tensor, logs: Tensor, prefix: int, causal: bool) -> list[object]:
    """Each element and head with its own mask, neutral at prefix tokens."""
    out = []
    for b in range(len(q)):
        for h in range(q.shape[1]):
            body = naive_gates.line(logs[b, h].tolist(), causal)
            ones = [1.0] * (prefix + len(body))
            m = [*([ones] * prefix), *([1.0] * prefix + row for row in body)]
            rows = (x[b, h].tolist() for x in (q, k, v))
            q_, k_, v_ = rows
            out.append(naive_attention.output(naive_attention.weights(placement, q_, k_, m, 0.7, None), v_))
    return out


@every_placement
@pytest.mark.parametrize("causal", [True, False])
@settings(max_examples=5)
@on_grids((1,))
def test_gates_of_a_batch_are_the_loops(shape: tuple[int], seed: int, placement: str, causal: bool) -> None:
    """Zeros hide keys, gates that underflow do not; with and without prefix tokens."""
    grid, logs = Grid(shape, prefix=seed % 2), log_gates(seed, shape[0]).clamp(min=-700)
    logs = torch.where(logs == -700, -torch.inf, logs)
    q, k, v = qkv(grid, seed)
    expected = by_loops(placement, q, k, v, logs, grid.prefix, causal)
    for backend in {*DENSE} & {*BACKENDS[placement], "auto"}:
        out = attend(q, k, v, Gates(logs, causal), grid, placement=placement, scale=0.7, backend=backend)
        assert_close(out.flatten(0, 1), expected)


def masks(size: int) -> dict[str, tuple[MaskLike, Grid]]:
    logs = open_gates(0, BATCH, HEADS, size)
    return {
        "line": (Gates(logs), Grid(size, prefix=1)),
        "one for the batch": (Gates(logs[:1]), Grid(size, prefix=1)),
        "one for all heads": (Gates(logs[:, :1], False), Grid(size, prefix=1)),
        "without a batch": (Gates(logs[0]), Grid(size, prefix=1)),
        "plane": (PolylineGates((logs, logs.flip(-1)), both=True), Grid((2, size // 2), prefix=1)),
    }


@every_placement
@pytest.mark.parametrize("name", masks(6))
def test_every_backend_serves_a_batch_or_refuses(name: str, placement: str) -> None:
    """With a bias where there are logits, with the weights, with gradients, and by compiled loops in float32."""
    mask, grid = masks(6)[name]
    q, k, v = qkv(grid, 3)
    bias = normal(4, BATCH, 1, 1, grid.length) if placement in SOFTMAX else None
    alone = [
        attend(
            q[b, None], k[b, None], v[b, None], entries_of(mask, grid, b), grid, placement=placement, bias=one(bias, b)
        )
        for b in range(BATCH)
    ]
    out, weights = attend(q, k, v, mask, grid, placement=placement, bias=bias, return_weights=True)
    assert weights.shape == (BATCH, HEADS, grid.length, grid.length)
    assert_close(out, torch.cat(alone))
    assert_close(weights @ v, out)
    for backend in BACKENDS[placement]:
        if backend in DENSE:
            assert_close(attend(q, k, v, mask, grid, placement=placement, bias=bias, backend=backend), out)
        elif backend != "compiled":
            with pytest.raises(ValueError, match=f"'{backend}' does not apply: the mask (has no kernel|is not a G)"):
                attend(q, k, v, mask, grid, placement=placement, backend=backend)
        elif compiled.loops(LOOPS) is not None:
            plain = attend(q, k, v, mask, grid, placement=placement)
            single = (x.float() for x in (q, k, v))
            assert_close(attend(*single, mask, grid, placement=placement, backend=backend), plain)


def one(bias: Tensor | None, b: int) -> Tensor | None:
    return None if bias is None else bias[b, None]


def entries_of(mask: MaskLike, grid: Grid, b: int) -> Tensor:
    """The mask of one element, ``(heads, length, length)``."""
    entries = Forms.of(mask, grid).entries
    return entries if entries.ndim == 3 else entries[min(b, len(entries) - 1)]


@pytest.mark.parametrize("placement", ["multiply_logits", "bias_logits", "multiply_weights", "retention"])
@pytest.mark.parametrize("backend", ["reference", "recompute"])
def test_gradients_reach_queries_keys_values_and_gates(placement: str, backend: str) -> None:
    logs = open_gates(0, BATCH, HEADS, 4).requires_grad_()
    inputs = [normal(i, BATCH, HEADS, 4, 2).requires_grad_() for i in range(3)]

    def run(q: Tensor, k: Tensor, v: Tensor, x: Tensor) -> Tensor:
        return attend(q, k, v, Gates(x), 4, placement=placement, backend=backend)

    assert torch.autograd.gradcheck(run, (*inputs, logs))


def test_a_zero_hides_the_past_with_finite_gradients() -> None:
    """FoX with a gate of 0: the tokens before it might be others."""
    logs = log_gates(5, 6, None).masked_fill(torch.arange(6) == 3, -torch.inf).requires_grad_()
    q, k, v = (normal(i, 1, HEADS, 6, 2) for i in range(3))
    out = attend(q, k, v, Gates(logs), 6, placement="bias_logits")
    others = (torch.cat([torch.full_like(x[:, :, :3], 7.0), x[:, :, 3:]], dim=2) for x in (k, v))
    assert_exact(attend(q, *others, Gates(logs), 6, placement="bias_logits")[:, :, 3:], out[:, :, 3:])
    (slope,) = torch.autograd.grad(out.sum(), logs)
    assert bool(slope.isfinite().all())


def test_parts_and_transposes_of_a_batch() -> None:
    """Of entries and logarithm heads are the third axis from last, and prefix tokens go from both."""
    gates, grid = Gates(log_gates(0, 5)), Grid(5, prefix=2)
    forms = Forms.of(gates, grid)
    assert_exact(forms.part(slice(1, 2)).entries, forms.entries[:, 1:2])
    assert_exact(forms.part(slice(1, 2)).log.entries, forms.log.entries[:, 1:2])
    assert_exact(forms.part(slice(1, 2)).gates.log_gamma, gates.log_gamma[:, 1:2])
    assert_exact(forms.transposed().entries, forms.entries.mT)
    assert_exact(forms.transposed().log.entries, forms.log.entries.mT)
    assert_exact(forms.without_prefix().entries, gates.entries(Grid(5)))
    assert_exact(forms.without_prefix().log.entries, gates.log_entries(Grid(5)))
