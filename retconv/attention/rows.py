"""How a block of scores reads its part of the mask, and where the gradient of that part goes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from retconv.attention.cuts import Block, Plan
from retconv.convert import fold, unfold


def runs(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The table of runs of a kernel: every row of the mask, its keys backwards, is a contiguous part of a row of it.

    With R tokens in a slab of the first axis, M[q, N − 1 − k] for q = (q_1, r) is ``table[r][q_1 R + k]``: all axes but
    the first are unfolded, and sliding along the first is sliding along the table.

    Args:
        kernel: ``(heads, offsets, 2 n_2 − 1, …, 2 n_D − 1)``: all offsets of the first axis, or some in a row.
        shape: The grid's shape.

    Returns:
        ``(heads, R, offsets · R)``: smaller than the mask by a factor of about ``n_1 / 2``.
    """
    rest = math.prod(shape[1:])
    slabs = unfold(kernel, shape[1:])  # shape: (heads, 2 n_1 − 1, r_q …, r_k …)
    slabs = slabs.reshape(*kernel.shape[:2], rest, rest).flip(1, 3)
    return slabs.transpose(1, 2).reshape(len(kernel), rest, -1)


def kernel_of_runs(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The adjoint of ``runs``: sums of the table's entries that are one entry of the kernel."""
    rest, sides = math.prod(shape[1:]), tuple(shape[1:])
    slabs = table.reshape(len(table), rest, -1, rest).transpose(1, 2).flip(1, 3)
    return fold(slabs.reshape(len(table), -1, *sides, *sides), sides)


def _add(total: Tensor, part: Tensor, factor: Tensor | None) -> None:
    total.add_(part) if factor is None else total.addcmul_(part, factor)


class DenseRows:
    """Rows of a mask ``(heads or 1, length, length)``, and sums into its gradient."""

    #: Tokens at the front that the mask does not hold.
    prefix = 0
    #: Whether keys come backwards.
    backwards = False

    def __init__(self, mask: Tensor, plan: Plan) -> None:
        self.mask, self.plan = mask.contiguous(), plan
        self.gradient: Tensor | None = None

    def groups(self) -> Iterator[list[Block]]:
        """Blocks by the elements that they are parts of."""
        length = self.mask.shape[-1]
        if self.plan.whole(length):
            yield from ([block] for block in self.plan.elements(length))
        else:
            for element in range(self.plan.heads * self.plan.batch):
                yield list(self.plan.rows(element, 0, length))

    def read(self, block: Block, tile: tuple[int, int]) -> Tensor:
        """``(heads, 1, rows, keys)``, to be broadcast over the batch."""
        return self.mask[block.heads(self.mask, self.plan.batch), None, block.first : block.last, slice(*tile)]

    def add(self, block: Block, tile: tuple[int, int], part: Tensor, factor: Tensor | None, spare: Tensor) -> None:
        """Add ``(heads, batch, rows, keys)``, times a factor, summed over the batch, to the gradient."""
        if self.gradient is None:
            self.gradient = torch.zeros_like(self.mask)
        total = self.gradient[block.heads(self.mask, self.plan.batch), block.first : block.last, slice(*tile)]
        if total.shape[0] == 1:
            # Heads are further elements of the batch where one head of the mask serves all.
            part, spare = part.flatten(0, 1)[None], spare.flatten(0, 1)[None]
            factor = factor if factor is None else factor.flatten(0, 1)[None]
        if part.shape[1] <= self.plan.cuts.few:
            for b in range(part.shape[1]):
                _add(total, part[:, b], None if factor is None else factor[:, b])
        else:
            total += (part if factor is None else torch.mul(part, factor, out=spare)).sum(dim=1)

    def total(self) -> Tensor:
        """The gradient of the mask."""
        return torch.zeros_like(self.mask) if self.gradient is None else self.gradient


class TableRows:
    """Rows of a mask read from the table of runs of its head: neither the mask nor its gradient is ever N×N.

    Keys come backwards, so that the runs of one slab start a slab further than those of the slab before. Prefix tokens
    are the first rows, and the last keys.
    """

    backwards = True

    def __init__(self, kernel: Tensor, plan: Plan, shape: tuple[int, ...], prefix: int) -> None:
        self.kernel, self.plan, self.shape, self.prefix = kernel, plan, shape, prefix
        self.step = math.prod(shape[1:])  # R
        self.scores = self.step * plan.width  # of a slab
        self.gradient: Tensor | None = None
        self._heads, self._offsets = range(0), range(0)  # of the tables that are there
        self._tables = kernel.new_empty(0)
        self._sums: Tensor | None = None

    def groups(self) -> Iterator[list[Block]]:
        """Blocks by element: rows of prefix tokens, then several slabs at a time, or a part of one."""
        plan = self.plan
        for element in range(plan.heads * plan.batch):
            group = list(plan.rows(element, 0, self.prefix, threads=1))
            if self.scores <= plan.size:
                group += plan.rows(element, self.prefix, self.prefix + self.shape[0] * self.step, self.step)
            else:
                for slab in range(self.shape[0]):
                    first = self.prefix + slab * self.step
                    group += plan.rows(element, first, first + self.step)
            yield group

    def read(self, block: Block, tile: tuple[int, int]) -> Tensor:
        """``(1, 1, slabs, R, keys)``, or ``(1, 1, 1, rows, keys)`` within a slab: views of the table."""
        return self._window(self._table(block, tile), block, tile)[None, None]

    def add(self, block: Block, tile: tuple[int, int], part: Tensor, factor: Tensor | None, spare: Tensor) -> None:
        """Add a part of the shape that was read, times a factor, summed over equal entries, to the gradient."""
        self._table(block, tile)  # sums of other tables are added up before these begin
        if self._sums is None:
            lanes = self.plan.threads if self.plan.cuts.slab <= self.scores <= self.plan.size else 1
            self._sums = self._tables.new_zeros(len(self._tables), lanes, *self._tables.shape[1:])
        sums = self._sums[self._head(block) - self._heads.start]  # shape: (lanes, R, table)
        window = self._window(sums[0], block, tile)
        part, factor = part[0, 0], None if factor is None else factor[0, 0]
        if len(part) == 1:
            _add(window, part, factor)
        elif self.scores < self.plan.cuts.slab:
            self._add_skewed(window, part, factor)
        else:
            # Windows of one slab and the next share entries: one is added after another, each lane's to its own sums.
            count = len(part) // block.lanes
            parts = part.unflatten(0, (block.lanes, count))
            factors = None if factor is None else factor.unflatten(0, (block.lanes, count))
            strides = (sums.stride(0) + count * self.step, sums.stride(1), 1)
            for slab in range(count):
                total = window.as_strided(parts[:, slab].shape, strides, window.storage_offset() + slab * self.step)
                _add(total, parts[:, slab], None if factors is None else factors[:, slab])

    def _add_skewed(self, window: Tensor, part: Tensor, factor: Tensor | None) -> None:
        """All slabs at once, each written one step further to the right: equal entries stand in one column."""
        count, step, size = part.shape
        width = size + (count - 1) * step
        skewed = part.new_zeros(count, step, width)
        _add(skewed.as_strided(part.shape, (step * width + step, width, 1)), part, factor)
        total = window.as_strided((step, width), window.stride()[1:], window.storage_offset())
        total += skewed.sum(dim=0)

    def total(self) -> Tensor:
        """The gradient of the kernel."""
        self._flush()
        return torch.zeros_like(self.kernel) if self.gradient is None else self.gradient

    def _window(self, table: Tensor, block: Block, tile: tuple[int, int]) -> Tensor:
        """The block's part of a table, ``(slabs, R, keys)``."""
        tokens = self.shape[0] * self.step
        left, right = self._masked(tile)
        slab, row = divmod(block.first - self.prefix, self.step)
        start = (slab - self._offsets.start) * self.step + tokens - right
        count, run = block.last - block.first, table.stride(0)
        if count >= self.step:
            size, strides = (count // self.step, self.step, right - left), (self.step, run, 1)
            return table.as_strided(size, strides, table.storage_offset() + start)
        return table[None, row : row + count, start : start + right - left]

    def _masked(self, tile: tuple[int, int]) -> tuple[int, int]:
        """The tokens of the grid among a tile's keys."""
        return max(tile[0] - self.prefix, 0), max(tile[1] - self.prefix, 0)

    def _head(self, block: Block) -> int:
        return block.heads(self.kernel, self.plan.batch).start

    def _table(self, block: Block, tile: tuple[int, int]) -> Tensor:
        """What a tile needs of the head's table, or all of several heads, as many entries as a thread has scores."""
        head, count = self._head(block), self.shape[0]
        left, right = self._masked(tile)
        offsets = range(count - math.ceil(right / self.step), 2 * count - 1 - left // self.step)
        if head not in self._heads or offsets != self._offsets:
            self._flush()
            tiled = self.plan.width < self.prefix + count * self.step
            together = 1 if tiled else max(1, self.plan.size // (len(offsets) * self.step**2))
            self._heads, self._offsets = range(head, min(head + together, len(self.kernel))), offsets
            self._tables = runs(self._part(self.kernel), self.shape)
        return self._tables[head - self._heads.start]

    def _part(self, kernel: Tensor) -> Tensor:
        """The heads and offsets of a kernel of which tables are there; these count offsets backwards."""
        last = 2 * self.shape[0] - 1
        return kernel[self._heads.start : self._heads.stop, last - self._offsets.stop : last - self._offsets.start]

    def _flush(self) -> None:
        """Let the tables go, and add their sums to the gradient of the kernel."""
        self._tables = self.kernel.new_empty(0)
        if self._sums is not None:
            if self.gradient is None:
                self.gradient = torch.zeros_like(self.kernel)
            sums, self._sums = self._sums, None
            first, *others = sums.unbind(1)
            for lane in others:
                first += lane
            part = self._part(self.gradient)
            part += kernel_of_runs(first, self.shape)
