"""How a block of scores reads its part of the mask, and where the gradient of that part goes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from retconv.attention.blocks import Block, cut, elements, whole
from retconv.convert import fold, unfold

#: From this many tokens on the mask is read from a table of runs, below it is dense.
TABLE_TOKENS = 1024
#: From this many scores in a slab on, blocks are parts of one slab.
LARGE = 2**17
#: From this many scores in a slab on, slabs are added to the gradient one by one.
SMALL = 2**14
#: Up to this many elements of a batch are added one by one.
FEW = 4


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
    rest = math.prod(shape[1:])
    slabs = unfold(kernel, shape[1:])  # shape: (heads, 2 n_1 − 1, r_q …, r_k …)
    return slabs.reshape(len(kernel), -1, rest, rest).transpose(1, 2).reshape(len(kernel), rest, -1)


def kernel_of_runs(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The adjoint of ``runs``: sums of the table's entries that are one entry of the kernel."""
    rest, sides = math.prod(shape[1:]), tuple(shape[1:])
    slabs = table.reshape(len(table), rest, -1, rest).transpose(1, 2)
    return fold(slabs.reshape(len(table), -1, *sides, *sides), sides)


def _add(total: Tensor, part: Tensor, factor: Tensor | None) -> None:
    total.add_(part) if factor is None else total.addcmul_(part, factor)


class DenseRows:
    """Rows of a mask ``(heads or 1, length, length)``, and sums into its gradient."""

    #: Tokens at the front that the mask does not hold.
    prefix = 0
    #: The order of queries: their own.
    order = None

    def __init__(self, mask: Tensor, heads: int, batch: int, threads: int, size: int) -> None:
        self.mask, self.heads, self.batch = mask.contiguous(), heads, batch
        self.threads, self.size = threads, size
        self.gradient: Tensor | None = None

    def groups(self) -> Iterator[list[Block]]:
        """Blocks by the elements that they are parts of."""
        length = self.mask.shape[-1]
        if whole(length, self.size):
            yield from ([block] for block in elements(self.heads, self.batch, length, self.threads, self.size))
        else:
            for element in range(self.heads * self.batch):
                yield list(cut(element, 0, length, length, self.threads, self.size))

    def read(self, block: Block) -> Tensor:
        """``(heads, 1, rows, length)``, to be broadcast over the batch."""
        return self.mask[block.heads(self.mask, self.batch), None, block.first : block.last]

    def add(self, block: Block, part: Tensor, factor: Tensor | None, spare: Tensor) -> None:
        """Add ``(heads, batch, rows, length)``, times a factor, summed over the batch, to the gradient."""
        if self.gradient is None:
            self.gradient = torch.zeros_like(self.mask)
        total = self.gradient[block.heads(self.mask, self.batch), block.first : block.last]
        if total.shape[0] == 1:
            # Heads are further elements of the batch where one head of the mask serves all.
            part, spare = part.flatten(0, 1)[None], spare.flatten(0, 1)[None]
            factor = factor if factor is None else factor.flatten(0, 1)[None]
        if part.shape[1] <= FEW:
            for b in range(part.shape[1]):
                _add(total, part[:, b], None if factor is None else factor[:, b])
        else:
            total += (part if factor is None else torch.mul(part, factor, out=spare)).sum(dim=1)

    def total(self) -> Tensor:
        """The gradient of the mask."""
        return torch.zeros_like(self.mask) if self.gradient is None else self.gradient


class TableRows:
    """Rows of a mask read from the table of runs of its head: neither the mask nor its gradient is ever N×N.

    Where a block has several slabs, queries come slab by slab from the last to the first, so that their runs start one
    slab further each time. Prefix tokens come first.
    """

    def __init__(
        self, kernel: Tensor, heads: int, batch: int, shape: tuple[int, ...], prefix: int, threads: int, size: int
    ) -> None:
        self.kernel, self.heads, self.batch = kernel, heads, batch
        self.threads, self.size = threads, size
        self.shape, self.prefix = shape, prefix
        self.step, self.tokens = math.prod(shape[1:]), math.prod(shape)  # R and N
        self.slabs = self.step * self.tokens < LARGE
        self.order: Tensor | None = None
        if self.slabs:
            token = torch.arange(prefix + self.tokens, device=kernel.device)
            self.order = torch.cat([token[:prefix], token[prefix:].view(-1, self.step).flip(0).flatten()])
        self.gradient: Tensor | None = None
        self._first, self._tables = 0, kernel.new_empty(0)
        self._sums: Tensor | None = None

    def groups(self) -> Iterator[list[Block]]:
        """Blocks by element: rows of prefix tokens, then several slabs at a time, or a part of one."""
        for element in range(self.heads * self.batch):
            length = self.prefix + self.tokens
            group = list(cut(element, 0, self.prefix, length, 1, self.size))
            if self.slabs:
                group += cut(element, self.prefix, length, length, self.threads, self.size, self.step)
            else:
                for first in range(self.prefix, length, self.step):
                    group += cut(element, first, first + self.step, length, self.threads, self.size)
            yield group

    def read(self, block: Block) -> Tensor:
        """``(1, 1, slabs, R, N)``, or ``(1, 1, rows, N)`` within a slab: views of the table, nothing is copied."""
        return self._window(self._table(block), block)[None, None]

    def add(self, block: Block, part: Tensor, factor: Tensor | None, spare: Tensor) -> None:
        """Add a part of the shape that was read, times a factor, summed over equal entries, to the gradient."""
        head = self._table(block)
        if self._sums is None:
            self._sums = head.new_zeros(len(self._tables), self.threads if self.slabs else 1, *head.shape)
        sums = self._sums[block.heads(self.kernel, self.batch).start - self._first]
        part, factor = part[0, 0], None if factor is None else factor[0, 0]
        if not self.slabs:
            _add(self._window(sums[0], block), part, factor)
        elif self.step * self.tokens >= SMALL:
            self._add_slabs(sums, block, part, factor)
        else:
            self._add_skewed(sums[0], block, part, factor)

    def _add_slabs(self, sums: Tensor, block: Block, part: Tensor, factor: Tensor | None) -> None:
        """One slab of each lane at a time, each lane to sums of its own."""
        lanes, count = block.lanes, part.shape[0] // block.lanes
        parts = part.unflatten(0, (lanes, count))
        factors = None if factor is None else factor.unflatten(0, (lanes, count))
        first = sums.storage_offset() + block.first - self.prefix
        strides = (sums.stride(0) + count * self.step, sums.stride(1), 1)
        for slab in range(count):
            total = sums.as_strided((lanes, self.step, self.tokens), strides, first + slab * self.step)
            _add(total, parts[:, slab], None if factors is None else factors[:, slab])

    def _add_skewed(self, sums: Tensor, block: Block, part: Tensor, factor: Tensor | None) -> None:
        """All slabs at once, each written one step further to the right: equal entries stand in one column."""
        slabs, step, size = part.shape
        width = size + (slabs - 1) * step
        skewed = part.new_zeros(slabs, step, width)
        _add(skewed.as_strided((slabs, step, size), (step * width + step, width, 1)), part, factor)
        first = block.first - self.prefix
        sums[:, first : first + width] += skewed.sum(dim=0)

    def total(self) -> Tensor:
        """The gradient of the kernel."""
        self._flush()
        return torch.zeros_like(self.kernel) if self.gradient is None else self.gradient

    def _window(self, table: Tensor, block: Block) -> Tensor:
        first, count = block.first - self.prefix, block.last - block.first
        if self.slabs:
            size = (count // self.step, self.step, self.tokens)
            return table.as_strided(size, (self.step, table.stride(0), 1), table.storage_offset() + first)
        slab, row = divmod(first, self.step)
        start = (self.shape[0] - 1 - slab) * self.step
        return table[row : row + count, start : start + self.tokens]

    def _table(self, block: Block) -> Tensor:
        """The table of the block's head: as many heads are made at once as a block of two threads has scores."""
        head = block.heads(self.kernel, self.batch).start
        if not self._first <= head < self._first + len(self._tables):
            self._flush()
            together = max(1, 2 * self.size // ((2 * self.shape[0] - 1) * self.step**2))
            self._first, self._tables = head, runs(self.kernel[head : head + together], self.shape)
        return self._tables[head - self._first]

    def _flush(self) -> None:
        """Let the tables go, and add their sums to the gradient of the kernel."""
        self._tables = self.kernel.new_empty(0)
        if self._sums is not None:
            if self.gradient is None:
                self.gradient = torch.zeros_like(self.kernel)
            sums, self._sums = self._sums, None
            sums = sums.squeeze(1) if sums.shape[1] == 1 else sums.sum(dim=1)
            self.gradient[self._first : self._first + len(sums)] += kernel_of_runs(sums, self.shape)
