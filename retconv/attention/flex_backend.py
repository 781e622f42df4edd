"""Attention by torch's FlexAttention, which looks the mask's kernel up by offset while it holds a tile of scores.

It is there to be chosen by name, and to compare with: ``auto`` never takes it. Its compiler makes kernels with Triton,
as ours are made, so that it is no way out where that is lacking; and the gradient of a table is one atomic addition for
each score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.attention import reference
from retconv.attention.inputs import Call
from retconv.grid import Grid
from retconv.watching import is_differentiated, is_mapped, is_traced

#: Fewest channels of a head that its kernels on a GPU multiply.
CHANNELS = 16
#: Types of queries, keys and values that its kernels on a GPU read.
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
#: Programs that are kept: one for each grid, batch, dtype, scale, and of training and evaluation. Torch keeps 8.
PROGRAMS = 64


def refusal(call: Call) -> str | None:
    """Why FlexAttention does not serve a call, or None if it does."""
    tensors = (call.q, call.k, call.v, *call.biases)
    if call.bias is not None:
        return "it reads masks by offset, and a bias has none"
    if is_mapped(*tensors):
        return "FlexAttention has no rule for torch.vmap"
    kind = call.q.device.type
    if kind == "cpu":
        return "FlexAttention has no backward pass on a CPU" if is_differentiated(*tensors) else None
    return _refusal_on_a_gpu(call) if kind == "cuda" else f"it runs on a GPU or a CPU, and q, k and v are on {kind}"


def _refusal_on_a_gpu(call: Call) -> str | None:
    channels = min(call.q.shape[-1], call.v.shape[-1])
    if channels < CHANNELS:
        return f"on a GPU a head needs {CHANNELS} channels, and has {channels}"
    if call.q.dtype not in DTYPES:
        return f"on a GPU it computes in float32, and q, k and v are {call.q.dtype}"
    if torch.are_deterministic_algorithms_enabled() and call.acting.values.requires_grad:
        return "it sums the gradient of a mask in no fixed order, and deterministic algorithms are asked for"
    return None if _has_triton() else "on a GPU it needs Triton: pip install 'retconv[triton]'"


def _has_triton() -> bool:
    return find_spec("triton") is not None


# A tracer asks when it traces, as torch.compiler.assume_constant_result has it, which would import torch's tracer here.
_has_triton._dynamo_marked_constant = True  # type: ignore[attr-defined]


def attend(call: Call) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` of a placement; on a GPU gradients flow to q, k, v and the kernel."""
    mask, q, k, v = call.acting, call.q, call.k, call.v
    if not len(q):
        return reference.attend(call)[0]  # no kernel of a GPU is launched for nothing
    # It adds up the gradient of a table in the table's dtype, which a half type would not keep.
    table = mask.values.flatten().to(torch.promote_types(q.dtype, torch.float32))
    if mask.grid.prefix:
        table = F.pad(table, (0, 1), value=mask.neutral)
    if q.device.type == "cpu" and not is_differentiated(q, k, v, table):
        # It refuses what requires gradients on a CPU even where nobody takes them.
        q, k, v, table = (x.detach() for x in (q, k, v, table))
    given = (q, k, v, table, mask.grid, mask.heads, call.placement.adds, call.scale)
    if is_traced():
        return _attend(*given)
    run = _compiled("inductor" if q.device.type == "cuda" else "eager")
    try:
        with torch._dynamo.config.patch(recompile_limit=PROGRAMS):
            return run(*given)
    except torch._dynamo.exc.FailOnRecompileLimitHit as error:
        raise RuntimeError(
            f"backend 'flex' keeps {PROGRAMS} compiled programs, and q {tuple(q.shape)} of {q.dtype} on {mask.grid} "
            "needs another: call torch.compiler.reset() to let them go, or use backend='auto'"
        ) from error


@cache
def _compiled(backend: str) -> Callable[..., Tensor]:
    """The one function that is compiled, made at the first call.

    For static sizes, which its kernels know to be right. Beyond the limit of programs it raises, and does not fall back
    to all scores at once. On a CPU its programs know no gradients and no float64, so torch's own formula stands there.
    """
    return torch.compile(_attend, dynamic=False, fullgraph=True, backend=backend)


def _attend(q: Tensor, k: Tensor, v: Tensor, table: Tensor, grid: Grid, masks: int, adds: bool, scale: float) -> Tensor:
    """FlexAttention with the scores of two tokens changed by ``table[place(key) − place(query) + centre]``.

    A table whose gradient is wanted may be indexed once only: hence one table for all heads and axes, and a neutral
    entry at its end for prefix tokens.
    """
    from torch.nn.attention.flex_attention import flex_attention

    shape, prefix = grid.shape, grid.prefix
    centre, neutral = _index((n - 1 for n in shape), shape), len(table) - 1
    step = math.prod(grid.kernel_shape) if masks > 1 else 0

    def change(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        entry = head * step + _place(key - prefix, shape) - _place(query - prefix, shape) + centre
        if prefix:
            entry = torch.where((query >= prefix) & (key >= prefix), entry, neutral)
        return score + table[entry] if adds else score * table[entry]

    out: Tensor = flex_attention(q, k, v, score_mod=change, scale=scale)
    return out


def _place(token: Tensor, shape: tuple[int, ...]) -> Any:
    """Where offsets to a token of the grid point in a flat table, but for the centre."""
    slabs = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return _index((token // slab % n for slab, n in zip(slabs, shape, strict=True)), shape)


def _index(offset: Iterable[Any], shape: tuple[int, ...]) -> Any:
    """Of an offset in a flat table of ``(2 n_1 − 1) … (2 n_D − 1)`` entries."""
    at: Any = 0
    for step, n in zip(offset, shape, strict=True):
        at = at * (2 * n - 1) + step
    return at
