"""Attention that keeps no scores for backward: blocks in the cache, computed a second time.

A block of scores is masked, normalised and multiplied by V, and forgotten. Backward computes it again from q and k:

    S = q kᵀ · scale,   Z = M ⊙ S,   P = softmax(Z),   dZ = P ⊙ (dO Vᵀ − rowsum(dO ⊙ O)),
    dS = dZ ⊙ M,        dM = Σ_batch dZ ⊙ S,           dQ = dS k,   dK = dSᵀ q,   dV = Pᵀ dO

for ``multiply_logits``, and likewise for the other placements. What it keeps is q, k, v and the mask or its kernel.

Backward of a long sequence takes the keys tile by tile. Its part of P is the softmax of the tile's scores times one
number a row, which the rows of dO carry: with z the largest logit of a row and p = P at its place,

    P = softmax(Z_tile) · exp(z_tile − z) · p / p_tile.

Two numbers, and not the logarithm of the sum that a softmax divides by: next to a large z that would be rounded away.
z, p and O are kept as well.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from retconv.attention.cuts import Block, Cuts, Plan
from retconv.attention.inputs import Call
from retconv.attention.placements import PLACEMENTS
from retconv.attention.sums import Sums, gathered, multiply, scattered
from retconv.attention.work import Work


def attend(call: Call, cuts: Cuts) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` of a placement; gradients flow to all tensors given, once."""
    mask, bias = call.acting, call.bias
    grid, rest = mask.grid, (call.placement.name, call.scale)
    if mask.kernel is not None and bias is None and grid.length >= cuts.table:
        # Axes of one token are left out: the first one left has the longest slide.
        shape = [n for n in grid.shape if n > 1] or [1]
        kernel = mask.kernel.reshape(-1, *(2 * n - 1 for n in shape))
        return _attend(call.q, call.k, call.v, kernel, None, *rest, shape, grid.prefix, list(cuts))[0]
    return _attend(call.q, call.k, call.v, mask.entries, bias, *rest, [], 0, list(cuts))[0]


def _is_tiled(placement: str, length: int, cuts: list[int]) -> bool:
    """Whether backward takes a softmax tile by tile."""
    return length >= Cuts(*cuts).long and PLACEMENTS[placement].softmax


@torch.library.custom_op("retconv::attend", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    bias: Tensor | None,
    placement: str,
    scale: float,
    shape: list[int],
    prefix: int,
    cuts: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and what backward of a long softmax needs, else nothing: ``peaks`` of its rows, and the exact output.

    ``peaks`` are the largest logit and weight of each row, ``(heads, batch, length, 2)``; the exact output is what was
    rounded to a half type.
    """
    with torch.autocast(q.device.type, enabled=False):
        plan = Plan(q, Cuts(*cuts), backward=False)
        work, (tile,) = Work(q, k, v, mask, bias, scale, shape, prefix, plan), plan.tiles
        empty = partial(work.q.new_empty, dtype=work.dtype)
        out = empty((*work.q.shape[:3], v.shape[-1]))
        rules, long = PLACEMENTS[placement], _is_tiled(placement, work.length, cuts)
        peaks = empty((*work.q.shape[:3], 2) if long else 0)
        buffer = work.scratch()
        for group in work.groups:
            keys, values = (work.keys(group[0], tile, x) for x in (work.k, work.v))
            for block in group:
                scores = work.scores(block, block.rows(work.q), keys, work.view(block, tile, buffer))
                weights, tops = work.weights(rules, block, tile, scores, work.mask(block, tile), scores)
                multiply(block.rows(out), weights.to(work.operands), block.matrices(values))
                if tops is not None and long:
                    block.rows(peaks).copy_(tops)
        exact = out.transpose(0, 1) if long and v.dtype != work.dtype else empty(0)
        return scattered(out, v.dtype), peaks, exact


@_attend.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, bias: Tensor | None, placement: str, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    batch, heads, length, _ = q.shape
    dtype = torch.promote_types(q.dtype, torch.float32)
    long = _is_tiled(placement, length, rest[-1])
    out = v.new_empty(heads, batch, length, v.shape[-1]).transpose(0, 1)
    peaks = q.new_empty((heads, batch, length, 2) if long else (0,), dtype=dtype)
    exact = torch.empty_like(out, dtype=dtype) if long and v.dtype != dtype else q.new_empty(0, dtype=dtype)
    return out, peaks, exact


@torch.library.custom_op("retconv::attend_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    bias: Tensor | None,
    out: Tensor | None,
    peaks: Tensor,
    placement: str,
    scale: float,
    shape: list[int],
    prefix: int,
    cuts: list[int],
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(q.device.type, enabled=False):
        rules, plan = PLACEMENTS[placement], Plan(q, Cuts(*cuts), backward=True)
        work = Work(q, k, v, mask, bias, scale, shape, prefix, plan)
        g = gathered(grad, work.operands)
        # rowsum(dO ⊙ O)
        inner = None if out is None else (g * gathered(out, work.dtype)).sum(dim=-1, keepdim=True)
        dq, dk, dv = (x.new_empty(x.shape, dtype=work.dtype) for x in (work.q, work.k, work.v))
        dbias = torch.zeros_like(work.bias) if work.bias is not None and needs_bias else None
        buffers = [work.scratch() for _ in range(3)]

        def step(block: Block, tile: tuple[int, int], keys: Tensor, values: Tensor, sums: tuple[Sums, Sums]) -> None:
            factor, spare, d = (work.view(block, tile, buffer) for buffer in buffers)
            m, q_rows, g_rows, means = work.mask(block, tile), block.rows(work.q), block.rows(g), None
            work.scores(block, q_rows, keys, factor)
            weights, tops = work.weights(rules, block, tile, factor, m, spare)
            if tops is not None and inner is not None:
                (top, largest), (top_here, largest_here) = (x.split(1, dim=-1) for x in (block.rows(peaks), tops))
                # Of a row without any key nothing is left, whatever −∞ − (−∞) is.
                share = (top_here - top.masked_fill(top == -torch.inf, 0.0)).exp_() * (largest / largest_here)
                g_rows, means = (g_rows * share).to(work.operands), block.rows(inner) * share
            sums[1].add(block, weights.to(work.operands), g_rows)
            multiply(d, g_rows, block.matrices(values).mT)
            if rules.softmax and not rules.after:
                _softmax_backward(d, weights, means)
                if dbias is not None:
                    work.add_bias(block, tile, dbias, d)
            if m is not None:
                part, free = work.part(d, m), work.part(spare, m)
                scores = None if rules.adds else work.part(factor, m)
                work.rows.add(block, tile, part, scores, free)
                if not rules.adds:
                    part.mul_(m)
            if rules.after:
                _softmax_backward(d, factor, means)
                if dbias is not None:
                    work.add_bias(block, tile, dbias, d)
            d = d.to(work.operands)
            multiply(block.rows(dq), d, block.matrices(keys), scale, add=tile[0] > 0)
            sums[0].add(block, d, q_rows, work.scale)

        for group in work.groups:
            for tile in plan.tiles:
                keys, values = (work.keys(group[0], tile, x) for x in (work.k, work.v))
                sums = Sums(dk, group, tile, work.rows.backwards), Sums(dv, group, tile, work.rows.backwards)
                for block in group:
                    # A function of its own: it holds no part of a table while the next is made.
                    step(block, tile, keys, values, sums)
                for one in sums:
                    one.close()
        return (
            scattered(dq, q.dtype),
            scattered(dk, k.dtype),
            scattered(dv, v.dtype),
            work.rows.total().to(mask.dtype),
            q.new_empty(0) if bias is None or dbias is None else dbias.to(bias.dtype),
        )


@_attend_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    like = [x.new_empty(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1) for x in (q, k, v)]
    dbias = q.new_empty(0) if bias is None or not rest[-1] else torch.empty_like(bias)
    return (*like, mask.new_empty(mask.shape), dbias)  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    q, k, v, mask, bias, *ctx.rest = inputs
    out, peaks, exact = output
    ctx.mark_non_differentiable(peaks, exact)
    wide = (exact if exact.numel() else out) if peaks.numel() else None
    ctx.save_for_backward(q, k, v, mask, bias, wide, peaks)


def _gradients(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    needs_bias = saved[4] is not None and ctx.needs_input_grad[4]
    *gradients, dbias = _attend_backward(grad, *saved, *ctx.rest, needs_bias)
    return (*gradients, dbias if needs_bias else None, None, None, None, None, None)


_attend.register_autograd(_gradients, setup_context=_keep)


def _refuse(ctx: Any, *_: Tensor) -> None:
    raise NotImplementedError("backend 'recompute' has no second derivative: use backend='reference'")


_attend_backward.register_autograd(_refuse)


def _softmax_backward(grad: Tensor, weights: Tensor, means: Tensor | None) -> None:
    """``P ⊙ (dP − rowsum(dP ⊙ P))`` in place of dP; the sum of a row, which equals that of dO ⊙ O, is made if None."""
    if means is not None:
        grad.sub_(means).mul_(weights)
    else:
        torch.ops.aten._softmax_backward_data.out(grad, weights, -1, grad.dtype, grad_input=grad)
