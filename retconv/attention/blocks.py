"""How attention is cut into blocks of scores that stay in the cache, and how a block reads its part of the mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.convert import unfold
from retconv.grid import Grid

#: Scores in a block, 2 MiB in float32: a backward pass works on three such blocks at a time.
BLOCK = 2**19
#: From this many tokens on the mask is read from a table of runs, below it is dense.
TABLE_TOKENS = 1024
#: Rows of a length that is a multiple of this fall on the same cache sets: they are made longer by ``PADDING`` columns.
ALIASED, PADDING = 256, 16
#: Up to this many elements of a batch are added one by one.
FEW = 4
#: From this many scores on a slab is added to the table by itself.
LARGE = 2**17


@dataclass(frozen=True)
class Block:
    """Which scores a block holds: elements ``start … stop`` of (heads · batch), and rows ``first … last`` of each.

    It lies within one head, or spans whole heads with all their rows.
    """

    start: int
    stop: int
    first: int
    last: int

    def heads(self, mask: Tensor, batch: int) -> slice:
        """The heads of a mask that belong to the block; a mask of one head serves all."""
        return slice(0, 1) if mask.shape[0] == 1 else slice(self.start // batch, (self.stop - 1) // batch + 1)

    def take(self, x: Tensor, rows: bool = True) -> Tensor:
        """The block's part of ``(heads, batch, length, d)``, with its rows or all, as ``(elements, rows, d)``.

        Within one head it is a view.
        """
        head, element = divmod(self.start, x.shape[1])
        if self.stop - self.start <= x.shape[1] - element:
            part = x[head, element : element + self.stop - self.start]
        else:
            part = x[head : self.stop // x.shape[1]].flatten(0, 1)
        return part[:, self.first : self.last] if rows else part


def plan(heads: int, batch: int, rows: int, columns: int, step: int) -> Iterator[Block]:
    """Blocks of about ``BLOCK`` scores, or of ``step`` rows where those are more, in order."""
    matrix = rows * columns
    if matrix * batch <= BLOCK:
        together = batch * max(1, BLOCK // (matrix * batch))
        for start in range(0, heads * batch, together):
            yield Block(start, min(start + together, heads * batch), 0, rows)
        return
    together = max(1, BLOCK // matrix)
    together = math.ceil(batch / math.ceil(batch / together))
    height = rows if matrix * together <= BLOCK else step * max(1, round(BLOCK / (columns * together * step)))
    for head in range(heads):
        for element in range(0, batch, together):
            start = head * batch + element
            stop = min(start + together, (head + 1) * batch)
            for first in range(0, rows, height):
                yield Block(start, stop, first, min(first + height, rows))


def runs(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The table of runs of a kernel: every row of the mask is a contiguous part of one row of it.

    With R tokens in a slab of the first axis, M[q, k] for q = (q_1, r) is ``table[r][(n_1 − 1 − q_1) R + k]``: all axes
    but the first are unfolded, and sliding along the first is sliding along the table.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``.
        shape: The grid's shape.

    Returns:
        ``(heads, R, (2 n_1 − 1) R)``: smaller than the mask by a factor of about ``n_1 / 2``.
    """
    n, rest = shape[0], math.prod(shape[1:])
    slabs = unfold(kernel, shape[1:]) if rest > 1 else kernel  # shape: (heads, 2 n_1 − 1, r_q …, r_k …)
    return slabs.reshape(-1, 2 * n - 1, rest, rest).transpose(1, 2).reshape(-1, rest, (2 * n - 1) * rest)


class DenseRows:
    """Rows of a mask ``(heads or 1, length, length)``, and sums into its gradient."""

    #: Rows that must stay together.
    step = 1

    def __init__(self, mask: Tensor, batch: int) -> None:
        self.values, self.batch, self.masked = mask, batch, mask.shape[-1]

    def read(self, block: Block) -> Tensor:
        """``(heads, 1, rows, length)``, to be broadcast over the batch."""
        return self.values[block.heads(self.values, self.batch), None, block.first : block.last]

    def add(self, block: Block, grad: Tensor, part: Tensor, factor: Tensor | None = None) -> None:
        """Add ``(heads, batch, rows, length)``, times a factor, summed over the batch, to the gradient."""
        total = grad[block.heads(grad, self.batch), block.first : block.last]
        add_products(total, *by_mask(grad, part, factor))

    def orders(self, device: torch.device) -> tuple[None, None]:
        """Queries and keys stay in their order."""
        return None, None


class TableRows:
    """Rows of a mask read from its table of runs: neither the mask nor its gradient is ever N×N.

    Queries come slab by slab from the last to the first, so that their runs start one slab further each time, and
    prefix tokens come last.
    """

    def __init__(self, table: Tensor, batch: int, grid: Grid) -> None:
        self.values, self.batch, self.grid, self.masked = table, batch, grid, grid.size
        self.step = grid.size // grid.shape[0]  # R

    def read(self, block: Block) -> Tensor:
        """``(heads, 1, slabs, R, N)``: overlapping views, nothing is copied."""
        heads = self.values[block.heads(self.values, self.batch)]
        slabs = (block.last - block.first) // self.step
        size = (heads.shape[0], 1, slabs, self.step, self.grid.size)
        stride = (heads.stride(0), 0, self.step, heads.stride(1), 1)
        return heads.as_strided(size, stride, heads.storage_offset() + block.first)

    def add(self, block: Block, grad: Tensor, part: Tensor, factor: Tensor | None = None) -> None:
        """Add ``(heads, batch, slabs, R, N)``, times a factor, summed over batch and equal entries, to the gradient."""
        part, factor = by_mask(grad, part, factor)
        heads, _, slabs, step, size = part.shape
        width = size + (slabs - 1) * step
        table = grad[block.heads(grad, self.batch), :, block.first : block.first + width]
        if step * size >= LARGE:
            for slab in range(slabs):
                within = None if factor is None else factor[:, :, slab]
                add_products(table[..., slab * step : slab * step + size], part[:, :, slab], within)
            return
        # Each slab is written one step further to the right than the one before: equal entries stand in one column.
        skewed = part.new_zeros(heads, slabs, step, width)
        view = skewed.as_strided((heads, slabs, step, size), (skewed.stride(0), skewed.stride(1) + step, width, 1))
        add_products(view, part, factor)
        table += skewed.sum(dim=1)

    def orders(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The order of queries and that of keys, as indices of tokens."""
        token = torch.arange(self.grid.length, device=device)
        prefix, body = token[: self.grid.prefix], token[self.grid.prefix :]
        reversed_slabs = body.reshape(self.grid.shape[0], -1).flip(0).flatten()
        return torch.cat([reversed_slabs, prefix]), torch.cat([body, prefix])


def by_mask(grad: Tensor, part: Tensor, factor: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Take heads as further elements of the batch where one head of the mask serves all."""
    if grad.shape[0] > 1 or part.shape[0] == 1:
        return part, factor
    return part.flatten(0, 1)[None], None if factor is None else factor.flatten(0, 1)[None]


def add_products(total: Tensor, part: Tensor, factor: Tensor | None) -> None:
    """``total += Σ_b part[:, b] · factor[:, b]``, in one pass for each of few large elements of the batch."""
    if part.shape[1] <= FEW:
        for b in range(part.shape[1]):
            total.add_(part[:, b]) if factor is None else total.addcmul_(part[:, b], factor[:, b])
    else:
        total += (part if factor is None else part * factor).sum(dim=1)


def gathered(x: Tensor, order: Tensor | None, dtype: torch.dtype, padding: int = 0) -> Tensor:
    """``(batch, heads, length, d) → (heads, batch, length + padding, d)`` in an order of tokens; a view if it can."""
    x = x.transpose(0, 1).to(dtype)
    if order is not None:
        x = x.index_select(2, order)
    if padding:
        x = F.pad(x, (0, 0, 0, padding))
    # Products of matrices want rows without gaps between their entries.
    return x if x.stride(-1) == 1 else x.contiguous()


def scattered(x: Tensor, order: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The inverse of ``gathered``: ``(batch, heads, length, d)`` in the original order of tokens."""
    x = x.to(dtype)
    if order is not None:
        x = torch.empty_like(x).index_copy_(2, order, x)
    return x.transpose(0, 1)
