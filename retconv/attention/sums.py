"""Layouts of queries, keys and values for blocks, and sums of products over the blocks of one element."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.attention import blocks
from retconv.attention.blocks import Block


class Sums:
    """``Σ scale · weightsᵀ rows`` over a group of blocks, for the elements of ``(heads, batch, length, d)`` it holds.

    A group of several blocks, or lanes, sums the transpose, ``rowsᵀ weights``, one sum for each lane: it reads the
    weights along their rows. Down their columns it would take twice as long where the length is a power of 2, since
    these fall on the same few lines of the cache. Only long sequences are summed in the result itself, to save memory.
    """

    def __init__(self, out: Tensor, group: list[Block]) -> None:
        self.out = out.flatten(0, 1)[group[0].start : group[0].stop]
        lanes = max(block.lanes for block in group)
        self.several = len(group) > 1 or lanes > 1
        self.sums: Tensor | None = None
        if self.several and lanes * self.out.numel() < blocks.BLOCK:
            self.sums = out.new_zeros(lanes, self.out.shape[2], self.out.shape[1])
        elif self.several:
            self.out.zero_()

    def add(self, block: Block, weights: Tensor, rows: Tensor, scale: float = 1.0) -> None:
        """Add the product of a block's ``(matrices, rows, length)`` and ``(matrices, rows, d)``."""
        if self.sums is not None:
            sums = self.sums[: block.lanes]
            torch.baddbmm(sums, rows.mT, weights, alpha=scale, out=sums)
            return
        if block.lanes > 1:
            weights, rows = weights.flatten(0, 1)[None], rows.flatten(0, 1)[None]
        torch.baddbmm(self.out, weights.mT, rows, beta=int(self.several), alpha=scale, out=self.out)

    def close(self) -> None:
        """Write the sum over lanes to the result."""
        if self.sums is not None:
            self.out[0] = self.sums.sum(dim=0).t()


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
