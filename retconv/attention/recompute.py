"""Attention that keeps no scores for backward: blocks in the cache, computed a second time.

A block of scores is masked, normalised and multiplied by V, and forgotten. Backward computes it again from q and k:

    S = q kᵀ · scale,   Z = M ⊙ S,   P = softmax(Z),   dZ = P ⊙ (dO Vᵀ − rowsum(dO ⊙ O)),
    dS = dZ ⊙ M,        dM = Σ_batch dZ ⊙ S,           dQ = dS k,   dK = dSᵀ q,   dV = Pᵀ dO

for ``multiply_logits``, and likewise for the other placements. What it keeps is q, k, v and the mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from retconv.attention import blocks
from retconv.attention.blocks import Block, DenseRows, TableRows, gathered, plan, runs, scattered
from retconv.attention.inputs import Source
from retconv.grid import Grid


def attend(
    placement: str, q: Tensor, k: Tensor, v: Tensor, source: Source, scale: float, bias: Tensor | None
) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` of a placement; gradients flow to all tensors given, once."""
    source = source.log() if placement == "bias_logits" else source
    grid = source.grid
    if source.kernel is not None and bias is None and grid.length >= blocks.TABLE_TOKENS:
        # Axes of one token are left out: the first one left has the longest slide.
        shape = [n for n in grid.shape if n > 1] or [1]
        kernel = source.kernel.reshape(-1, *(2 * n - 1 for n in shape))
        return _attend(q, k, v, runs(kernel, tuple(shape)), None, placement, scale, shape, grid.prefix)
    bias = bias if bias is None else bias.reshape(*(1,) * (4 - bias.ndim), *bias.shape)
    return _attend(q, k, v, source.dense(), bias, placement, scale, [], 0)


class _Work:
    """The tensors of one call, in the order and layout in which blocks read them.

    Queries, keys and values become ``(heads, batch, length, d)`` in the computing dtype, float32 for half types. Keys
    and values have ``padding`` more tokens, of weight 0.
    """

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor,
        bias: Tensor | None,
        scale: float,
        shape: list[int],
        prefix: int,
    ) -> None:
        self.batch, self.heads, self.length, _ = q.shape
        self.dtype = torch.promote_types(q.dtype, torch.float32)
        self.padding = blocks.PADDING if self.length % blocks.ALIASED == 0 else 0
        self.columns = self.length + self.padding
        mask = mask.to(self.dtype).contiguous()
        self.rows = TableRows(mask, self.batch, Grid(shape, prefix)) if shape else DenseRows(mask, self.batch)
        self.bias = bias if bias is None else bias.to(self.dtype)
        self.orders = self.rows.orders(q.device)
        self.scale = scale
        self.q = gathered(q, self.orders[0], self.dtype)
        self.k = gathered(k, self.orders[1], self.dtype, self.padding)
        self.v = gathered(v, self.orders[1], self.dtype, self.padding)
        self.blocks = list(self._plan())

    def _plan(self) -> Iterator[Block]:
        """Masked rows, then those of prefix tokens that come last."""
        masked = self.rows.masked
        yield from plan(self.heads, self.batch, masked, self.columns, self.rows.step)
        if masked < self.length:
            for block in plan(self.heads, self.batch, self.length - masked, self.columns, 1):
                yield Block(block.start, block.stop, block.first + masked, block.last + masked)

    def mask(self, block: Block) -> Tensor | None:
        """The mask of a block, or None for rows of prefix tokens."""
        return self.rows.read(block) if block.first < self.rows.masked else None

    def scratch(self) -> Tensor:
        """A buffer that holds the scores of any block."""
        return self.q.new_empty(max((b.stop - b.start) * (b.last - b.first) for b in self.blocks) * self.columns)

    def scores(self, block: Block, buffer: Tensor) -> Tensor:
        """``(elements, rows, columns)``, written to the buffer."""
        keys = block.take(self.k, rows=False)
        out = self.view(block, buffer)
        return torch.baddbmm(out, block.take(self.q), keys.transpose(1, 2), beta=0, alpha=self.scale, out=out)

    def view(self, block: Block, buffer: Tensor) -> Tensor:
        """The part of a buffer that a block takes."""
        size = (block.stop - block.start, block.last - block.first, self.columns)
        return buffer[: size[0] * size[1] * size[2]].view(size)

    def part(self, values: Tensor, mask: Tensor) -> Tensor:
        """The masked columns of a block's values, ``(heads, batch, *rows, masked)`` like its part of the mask."""
        return self._columns(values, self.rows.masked, mask.shape[2:-1])

    def multiply(self, values: Tensor, mask: Tensor | None, out: Tensor) -> None:
        """Write the product with the mask, of which None is the neutral one, to ``out``, which may be the values."""
        if mask is not None:
            torch.mul(self.part(values, mask), mask, out=self.part(out, mask))
        if out is not values:
            first = self.rows.masked if mask is not None else 0
            out[..., first:] = values[..., first:]

    def softmax(self, block: Block, values: Tensor) -> None:
        """Add the bias, hide the padding, and normalise, in place."""
        if self.bias is not None:
            self._columns(values, self.length, values.shape[1:2]).add_(self.bias_part(block, self.bias))
        if self.padding:
            values[..., self.length :] = -torch.inf
        torch.softmax(values, dim=-1, out=values)

    def add_bias(self, block: Block, grad: Tensor, values: Tensor) -> None:
        """Add the gradient of a block's logits to that of the bias."""
        total = self.bias_part(block, grad)
        total += self._columns(values, self.length, values.shape[1:2]).sum_to_size(total.shape)

    def bias_part(self, block: Block, bias: Tensor) -> Tensor:
        """A view of the bias of a block, ``(heads, batch, rows, length)``; axes may have length 1."""
        if bias.shape[1] > 1:
            bias = bias[:, block.start // self.batch : (block.stop - 1) // self.batch + 1]
        if bias.shape[0] > 1 and block.stop - block.start < self.batch:
            bias = bias[block.start % self.batch : (block.stop - 1) % self.batch + 1]
        if bias.shape[2] > 1:
            bias = bias[:, :, block.first : block.last]
        return bias.transpose(0, 1)

    def _columns(self, values: Tensor, count: int, rows: torch.Size) -> Tensor:
        heads = max(1, values.shape[0] // self.batch)
        view = values.view(heads, values.shape[0] // heads, *rows, self.columns)
        return view if count == self.columns else view[..., :count]

    def weights(self, placement: str, block: Block, scores: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
        """What multiplies V; where the mask multiplies, it is ``out``, and ``scores`` keep what it multiplied."""
        if placement in ("multiply_logits", "retention"):
            self.multiply(scores, mask, out)
            scores = out
        elif placement == "bias_logits" and mask is not None:
            self.part(scores, mask).add_(mask)
        if placement != "retention":
            self.softmax(block, scores)
        if placement == "multiply_weights":
            self.multiply(scores, mask, out)
            scores = out
        return scores


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
) -> Tensor:
    with torch.autocast(q.device.type, enabled=False):
        work = _Work(q, k, v, mask, bias, scale, shape, prefix)
        out = work.q.new_empty(*work.q.shape[:3], v.shape[-1])
        buffer = work.scratch()
        for block in work.blocks:
            scores = work.scores(block, buffer)
            weights = work.weights(placement, block, scores, work.mask(block), scores)
            _write(out, block, weights, block.take(work.v, rows=False))
        return scattered(out, work.orders[0], v.dtype)


@_attend.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Tensor:
    batch, heads, length, _ = q.shape
    return v.new_empty(heads, batch, length, v.shape[-1]).transpose(0, 1)


@torch.library.custom_op("retconv::attend_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    bias: Tensor | None,
    placement: str,
    scale: float,
    shape: list[int],
    prefix: int,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(q.device.type, enabled=False):
        work = _Work(q, k, v, mask, bias, scale, shape, prefix)
        g = gathered(grad, work.orders[0], work.dtype)
        dq = torch.empty_like(work.q, memory_format=torch.contiguous_format)
        dk, dv = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (work.k, work.v))
        dmask = torch.zeros_like(work.rows.values)
        dbias = torch.zeros_like(work.bias) if work.bias is not None and needs_bias else None
        buffers = [work.scratch() for _ in range(3)]
        for block in work.blocks:
            m, queries, g_rows = work.mask(block), block.take(work.q), block.take(g)
            factor = work.scores(block, buffers[0])
            weights = work.weights(placement, block, factor, m, work.view(block, buffers[1]))
            _add(dv, block, weights.transpose(1, 2), g_rows)
            d = torch.bmm(g_rows, block.take(work.v, rows=False).transpose(1, 2), out=work.view(block, buffers[2]))
            if placement in ("multiply_logits", "bias_logits"):
                _softmax_backward(d, weights)
                if dbias is not None:
                    work.add_bias(block, dbias, d)
            if m is not None and placement == "bias_logits":
                work.rows.add(block, dmask, work.part(d, m))
            elif m is not None:
                work.rows.add(block, dmask, work.part(d, m), work.part(factor, m))
                work.part(d, m).mul_(m)
            if placement == "multiply_weights":
                _softmax_backward(d, factor)
                if dbias is not None:
                    work.add_bias(block, dbias, d)
            _write(dq, block, d, block.take(work.k, rows=False), scale)
            _add(dk, block, d.transpose(1, 2), queries, scale)
        return (
            scattered(dq, work.orders[0], q.dtype),
            scattered(dk[:, :, : work.length], work.orders[1], k.dtype),
            scattered(dv[:, :, : work.length], work.orders[1], v.dtype),
            dmask.to(mask.dtype),
            q.new_empty(0) if bias is None or dbias is None else dbias.to(bias.dtype),
        )


@_attend_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    like = [x.new_empty(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1) for x in (q, k, v)]
    dbias = q.new_empty(0) if bias is None or not rest[-1] else torch.empty_like(bias)
    return (*like, mask.new_empty(mask.shape), dbias)  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, k, v, mask, bias, *ctx.rest = inputs
    ctx.save_for_backward(q, k, v, mask, bias)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    needs_bias = saved[4] is not None and ctx.needs_input_grad[4]
    *gradients, dbias = _attend_backward(grad, *saved, *ctx.rest, needs_bias)
    return (*gradients, dbias if needs_bias else None, None, None, None, None)


_attend.register_autograd(_gradients, setup_context=_keep)


def _write(out: Tensor, block: Block, left: Tensor, right: Tensor, scale: float = 1.0) -> None:
    """Write ``scale · left @ right`` to a block's rows of ``(heads, batch, length, d)``."""
    rows = out.flatten(0, 1)[block.start : block.stop, block.first : block.last]
    if rows.is_contiguous():
        torch.baddbmm(rows, left, right, beta=0, alpha=scale, out=rows)
    else:
        torch.mul(torch.bmm(left, right), scale, out=rows)


def _add(out: Tensor, block: Block, left: Tensor, right: Tensor, scale: float = 1.0) -> None:
    """Add ``scale · left @ right`` to a block's elements of ``(heads, batch, length, d)``."""
    part = out.flatten(0, 1)[block.start : block.stop]
    torch.baddbmm(part, left, right, alpha=scale, out=part)


def _softmax_backward(grad: Tensor, weights: Tensor) -> None:
    """``P ⊙ (dP − rowsum(dP ⊙ P))`` in place of dP; the sum of a row equals that of dO ⊙ O."""
    torch.ops.aten._softmax_backward_data.out(grad, weights, -1, grad.dtype, grad_input=grad)
