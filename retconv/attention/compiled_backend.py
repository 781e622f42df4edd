"""Attention of few tokens on a CPU in one pass of compiled loops, for inference: nothing is kept for a backward pass.

Scores, mask, softmax and the product with V of a head stay in the cache of a core. Operations of torch take a pass over
all scores each, and the start of each costs more than the work of a few heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retconv.attention.inputs import Call
from retconv.attention.placements import Placement
from retconv.grid import Grid, kept
from retconv.masks import Forms
from retconv.operators import compiled
from retconv.operators.compiled import in_threads, ranges, threads
from retconv.watching import is_differentiated, is_plain

#: Most tokens: the masks of a head, of the scores' size, stay in the cache.
LENGTH = 256
#: Most channels of a head.
CHANNELS = 128
#: The module of its loops.
LOOPS = "retconv.attention.short_loops"


def refusal(call: Call) -> str | None:
    """Why the loops do not serve a call, or None if they do."""
    q, k, v = call.q, call.k, call.v
    if not is_plain(q, k, v, *call.biases):
        return "compiled loops read plain memory of a CPU, and follow no transform, mode or tracer"
    if is_differentiated(q, k, v, *call.biases):
        return "it has no backward pass: use torch.no_grad()"
    if call.bias is not None:
        return "it adds no bias to logits"
    if q.dtype != torch.float32:
        return f"it computes in float32, and q, k and v are {q.dtype}"
    if q.shape[2] > LENGTH:
        return f"it serves up to {LENGTH} tokens, and there are {q.shape[2]}"
    channels = max(q.shape[-1], v.shape[-1])
    if channels > CHANNELS:
        return f"a head may have {CHANNELS} channels, and has {channels}"
    return None if compiled.loops(LOOPS) is not None else "it needs numba: pip install 'retconv[compiled]'"


def attend(call: Call) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` of a placement with scores."""
    mask, rules = call.acting, call.placement
    q, k, v = (_side_by_side(x) for x in (call.q, call.k, call.v))
    batch, heads, length, d = q.shape
    out = q.new_empty(batch, heads, length, v.shape[-1])
    table = mask.values.detach().to(torch.float32).reshape(mask.heads, -1)
    options = (
        tuple(_memory(x) for x in (q, k, v)),
        tuple(x.stride()[:3] for x in (q, k, v)),
        out.numpy(),
        table.numpy(),
        *_places(mask),
        mask.neutral,
        (*_rules(rules), d),
        float(call.scale),
    )
    in_threads(compiled.loops(LOOPS).attend, ranges(heads * batch, threads(batch * heads * length**2)), options)
    return out


def _rules(placement: Placement) -> tuple[int, bool, bool]:
    """What the mask does to scores, whether there is a softmax, and whether the mask multiplies weights."""
    return {None: 0, "multiply": 1, "add": 2}[placement.before], placement.softmax, placement.after


def _side_by_side(x: Tensor) -> Tensor:
    """The tensor with the channels of a token side by side, as it nearly always is."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _memory(x: Tensor) -> Any:
    """All memory from the first entry to the last: of one type for the compiler, whatever the strides."""
    last = sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True)) if x.numel() else -1
    return x.as_strided((last + 1,), (1,)).numpy()


def _places(mask: Forms) -> tuple[tuple[Any, Any], int]:
    """Where the loops find entries, of queries and of keys, and how many tokens in front have none."""
    if mask.kernel is None:
        tokens, length = torch.arange(mask.grid.length, device="cpu"), mask.grid.length
        return ((tokens * length).numpy(), tokens.numpy()), 0
    queries, keys = _in_a_kernel(mask.grid.without_prefix())
    return (queries.numpy(), keys.numpy()), mask.grid.prefix


@kept
def _in_a_kernel(grid: Grid) -> Tensor:
    """An offset is a difference, and so is its place in a flat table: the first query and the first key tell all."""
    index = grid.offset_index()
    return torch.stack([index[:, 0] - index[0, 0], index[0]])
