"""Products of blocks, layouts of their operands, and sums of products over the blocks of one element."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.attention.cuts import Block


def multiply(out: Tensor, a: Tensor, b: Tensor, scale: float = 1.0, add: bool = False) -> None:
    """Write ``scale · a b``, or add it. Of half types the product is rounded to theirs, the sum has the output's."""
    if b.dtype == out.dtype:
        torch.baddbmm(out, a, b, beta=int(add), alpha=scale, out=out)
    elif add:
        out.add_(torch.bmm(a, b), alpha=scale)
    else:
        torch.mul(torch.bmm(a, b), scale, out=out)


class Sums:
    """``Σ scale · weightsᵀ rows`` over a group of blocks, for a tile of the keys of its elements.

    A group of several blocks, or lanes, sums the transpose, ``rowsᵀ weights``, one sum for each lane: it reads the
    weights along their rows. Down their columns it would take twice as long where the length is a power of 2, since
    these fall on the same few lines of the cache.
    """

    def __init__(self, out: Tensor, group: list[Block], tile: tuple[int, int], backwards: bool) -> None:
        self.out, self.backwards = group[0].elements(out)[:, slice(*tile)], backwards
        lanes = max(block.lanes for block in group)
        several = len(group) > 1 or lanes > 1 or backwards
        self.sums = out.new_zeros(lanes, self.out.shape[2], self.out.shape[1]) if several else None

    def add(self, block: Block, weights: Tensor, rows: Tensor, scale: float = 1.0) -> None:
        """Add the product of a block's ``(matrices, rows, keys)`` and ``(matrices, rows, d)``."""
        if self.sums is None:
            multiply(self.out, weights.mT, rows, scale)
        else:
            multiply(self.sums[: block.lanes], rows.mT, weights, scale, add=True)

    def close(self) -> None:
        """Write the sum over lanes to the result, and let the sums go."""
        if self.sums is not None:
            total = self.sums.sum(dim=0)
            self.out[0] = (total.flip(-1) if self.backwards else total).t()
            self.sums = None


def gathered(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``(batch, heads, length, d) → (heads, batch, length, d)``; a view if it can."""
    x = x.transpose(0, 1).to(dtype)
    # Products of matrices want rows without gaps between their entries.
    return x if x.stride(-1) == 1 else x.contiguous()


def scattered(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of ``gathered``."""
    return x.to(dtype).transpose(0, 1)
