"""Attention that keeps no scores for backward: blocks in the cache, computed a second time.

A block of scores is masked, normalised and multiplied by V, and forgotten. Backward computes it again from q and k:

    S = q kᵀ · scale,   Z = M ⊙ S,   P = softmax(Z),   dZ = P ⊙ (dO Vᵀ − rowsum(dO ⊙ O)),
    dS = dZ ⊙ M,        dM = Σ_batch dZ ⊙ S,           dQ = dS k,   dK = dSᵀ q,   dV = Pᵀ dO

for ``multiply_logits``, and likewise for the other placements. What it keeps is q, k, v and the mask or its kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retconv.attention import rows as mask_rows
from retconv.attention.blocks import Block, block_size, threads_of
from retconv.attention.inputs import Source
from retconv.attention.rows import DenseRows, TableRows
from retconv.attention.sums import Sums, gathered, scattered


def attend(
    placement: str, q: Tensor, k: Tensor, v: Tensor, source: Source, scale: float, bias: Tensor | None
) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` of a placement; gradients flow to all tensors given, once."""
    source = source.log() if placement == "bias_logits" else source
    grid = source.grid
    if source.kernel is not None and bias is None and grid.length >= mask_rows.TABLE_TOKENS:
        # Axes of one token are left out: the first one left has the longest slide.
        shape = [n for n in grid.shape if n > 1] or [1]
        kernel = source.kernel.reshape(-1, *(2 * n - 1 for n in shape))
        return _attend(q, k, v, kernel, None, placement, scale, shape, grid.prefix)
    bias = bias if bias is None else bias.reshape(*(1,) * (4 - bias.ndim), *bias.shape)
    return _attend(q, k, v, source.dense(), bias, placement, scale, [], 0)


class _Work:
    """The tensors of one call, in the layout in which blocks read them.

    Queries, keys and values become ``(heads, batch, length, d)`` in the computing dtype, float32 for half types.
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
        mask, threads, size = mask.to(self.dtype), threads_of(q.device), block_size(self.length)
        self.rows: DenseRows | TableRows = (
            TableRows(mask, self.heads, self.batch, tuple(shape), prefix, threads, size)
            if shape
            else DenseRows(mask, self.heads, self.batch, threads, size)
        )
        self.bias = bias if bias is None else bias.to(self.dtype)
        self.scale = scale
        self.q = gathered(q, self.dtype, self.rows.order)
        self.k, self.v = gathered(k, self.dtype), gathered(v, self.dtype)
        self.groups = list(self.rows.groups())
        self._largest = max(b.size[0] * b.size[1] for group in self.groups for b in group) * self.length

    def scratch(self) -> Tensor:
        """A buffer that holds the scores of any block."""
        return self.q.new_empty(self._largest)

    def view(self, block: Block, buffer: Tensor) -> Tensor:
        """The part of a buffer that a block takes, ``(matrices, rows, length)``."""
        count, height = block.size
        return buffer[: count * height * self.length].view(count, height, self.length)

    def scores(self, block: Block, out: Tensor) -> Tensor:
        """Write the scores of a block."""
        return torch.baddbmm(out, block.rows(self.q), block.all(self.k).mT, beta=0, alpha=self.scale, out=out)

    def mask(self, block: Block) -> Tensor | None:
        """The mask of a block, or None for rows of prefix tokens."""
        return self.rows.read(block) if block.first >= self.rows.prefix else None

    def part(self, values: Tensor, mask: Tensor) -> Tensor:
        """The masked columns of a block's values, ``(heads, batch, *rows, masked)`` like its part of the mask."""
        view = self._by_head(values, mask.shape[2:-1])
        return view[..., self.rows.prefix :] if self.rows.prefix else view

    def multiply(self, values: Tensor, mask: Tensor | None, out: Tensor) -> None:
        """Write the product with the mask, of which None is the neutral one, to ``out``, which may be the values."""
        if mask is not None:
            torch.mul(self.part(values, mask), mask, out=self.part(out, mask))
        if out is not values:
            rest = self.rows.prefix if mask is not None else self.length
            out[..., :rest] = values[..., :rest]

    def softmax(self, block: Block, values: Tensor) -> None:
        """Add the bias and normalise, in place."""
        if self.bias is not None:
            self._by_head(values, (block.last - block.first,)).add_(self.bias_part(block, self.bias))
        torch.softmax(values, dim=-1, out=values)

    def add_bias(self, block: Block, grad: Tensor, values: Tensor) -> None:
        """Add the gradient of a block's logits to that of the bias."""
        total = self.bias_part(block, grad)
        total += self._by_head(values, (block.last - block.first,)).sum_to_size(total.shape)

    def bias_part(self, block: Block, bias: Tensor) -> Tensor:
        """A view of the bias of a block, ``(heads, batch, rows, length)``; axes may have length 1."""
        if bias.shape[1] > 1:
            bias = bias[:, block.start // self.batch : (block.stop - 1) // self.batch + 1]
        if bias.shape[0] > 1 and block.stop - block.start < self.batch:
            bias = bias[block.start % self.batch : (block.stop - 1) % self.batch + 1]
        if bias.shape[2] > 1:
            bias = bias[:, :, block.first : block.last]
        return bias.transpose(0, 1)

    def _by_head(self, values: Tensor, rows: tuple[int, ...]) -> Tensor:
        elements = values.numel() // (rows[0] * self.length) if len(rows) == 1 else 1
        heads = max(1, elements // self.batch)
        return values.view(heads, elements // heads, *rows, self.length)

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
        for group in work.groups:
            for block in group:
                scores = work.scores(block, work.view(block, buffer))
                weights = work.weights(placement, block, scores, work.mask(block), scores)
                torch.bmm(weights, block.all(work.v), out=block.rows(out))
        return scattered(out, v.dtype, work.rows.order)


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
        g = gathered(grad, work.dtype, work.rows.order)
        dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (work.q, work.k, work.v))
        dbias = torch.zeros_like(work.bias) if work.bias is not None and needs_bias else None
        buffers = [work.scratch() for _ in range(3)]

        def step(block: Block, keys: Sums, values: Sums) -> None:
            factor, spare, d = (work.view(block, buffer) for buffer in buffers)
            m, g_rows = work.mask(block), block.rows(g)
            work.scores(block, factor)
            weights = work.weights(placement, block, factor, m, spare)
            values.add(block, weights, g_rows)
            torch.bmm(g_rows, block.all(work.v).mT, out=d)
            if placement in ("multiply_logits", "bias_logits"):
                _softmax_backward(d, weights)
                if dbias is not None:
                    work.add_bias(block, dbias, d)
            if m is not None:
                part, free = work.part(d, m), work.part(spare, m)
                work.rows.add(block, part, None if placement == "bias_logits" else work.part(factor, m), free)
                if placement != "bias_logits":
                    part.mul_(m)
            if placement == "multiply_weights":
                _softmax_backward(d, factor)
                if dbias is not None:
                    work.add_bias(block, dbias, d)
            out = block.rows(dq)
            torch.baddbmm(out, d, block.all(work.k), beta=0, alpha=scale, out=out)
            keys.add(block, d, block.rows(work.q), scale)

        for group in work.groups:
            keys, values = Sums(dk, group), Sums(dv, group)
            for block in group:
                # A function of its own: it holds no part of a table while the next is made.
                step(block, keys, values)
            keys.close()
            values.close()
        return (
            scattered(dq, q.dtype, work.rows.order),
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


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, k, v, mask, bias, *ctx.rest = inputs
    ctx.save_for_backward(q, k, v, mask, bias)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    needs_bias = saved[4] is not None and ctx.needs_input_grad[4]
    *gradients, dbias = _attend_backward(grad, *saved, *ctx.rest, needs_bias)
    return (*gradients, dbias if needs_bias else None, None, None, None, None)


_attend.register_autograd(_gradients, setup_context=_keep)


def _softmax_backward(grad: Tensor, weights: Tensor) -> None:
    """``P ⊙ (dP − rowsum(dP ⊙ P))`` in place of dP; the sum of a row equals that of dO ⊙ O."""
    torch.ops.aten._softmax_backward_data.out(grad, weights, -1, grad.dtype, grad_input=grad)
