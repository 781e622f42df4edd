"""Layouts of queries, keys and values for blocks, and sums of products over the blocks of one element."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.attention import blocks
from retconv.attention.blocks import Block


class Sums:
    """``Σ scale · weightsᵀ rows`` over a group of blocks, for the elements of ``(heads, batch, length, d)`` it holds.

    A group of several blocks, or lanes, sums the transpose, ``rowsᵀ weights``, one sum for each lane: such a product reads the
    weights along their rows. Down their columns it would take twice as long where the length is a power of 2, since
    these fall on the same few lines of the cache.
    """

    def __init__(self, out: Tensor, group: list[Block]) -> None:
        self.out = out.flatten(0, 1)[group[0].start : group[0].stop]
        self.lanes = max(block.lanes for block in group)
        self.sums: Tensor | None = None
        if len(group) > 1 or self.lanes > 1:
            size = self.out.shape[2], self.out.shape[1]
            if self.lanes * self.out.numel() > blocks.BLOCK:
                # Long sequences have one sum, in the memory of the result.
                self.lanes = 1
                self.sums = self.out.view(1, *size).zero_()
            else:
                self.sums = out.new_zeros(self.lanes, *size)

    def add(self, block: Block, weights: Tensor, rows: Tensor, scale: float = 1.0) -> None:
        """Add the product of a block's ``(matrices, rows, length)`` and ``(matrices, rows, d)``."""
        if self.sums is None:
            torch.baddbmm(self.out, weights.mT, rows, beta=0, alpha=scale, out=self.out)
            return
        if block.lanes > self.lanes:
            weights, rows = weights.flatten(0, 1)[None], rows.flatten(0, 1)[None]
        sums = self.sums[: weights.shape[0]]
        torch.baddbmm(sums, rows.mT, weights, alpha=scale, out=sums)

    def close(self) -> None:
        """Write the sum over lanes to the result."""
        if self.sums is not None:
            self.out.copy_(self.sums.sum(dim=0).t())


def gathered(x: Tensor, dtype: torch.dtype, order: Tensor | None = None) -> Tensor:
    """``(batch, heads, length, d) → (heads, batch, length, d)`` in an order of tokens; a view if it can."""
    x = x.transpose(0, 1).to(dtype)
    if order is not None:
        x = x.index_select(2, order)
    # Products of matrices want rows without gaps between their entries.
    return x if x.stride(-1) == 1 else x.contiguous()


def scattered(x: Tensor, dtype: torch.dtype, order: Tensor | None = None) -> Tensor:
    """The inverse of ``gathered``: ``(batch, heads, length, d)`` in the original order of tokens."""
    x = x.to(dtype)
    if order is not None:
        x = torch.empty_like(x).index_copy_(2, order, x)
    return x.transpose(0, 1)
