"""How attention is cut into blocks of scores that stay in the caches of the cores that work on them.

Every operation on a block is a batch of equal matrices, one or several for each thread, and threads take the same part
of the batch in each: a core finds in its own cache what it wrote there itself. Cores that pass scores to each other
are up to three times slower, and by how much depends on where the system puts them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Cuts(NamedTuple):
    """Where attention is cut; a tuple of integers, which an operation of torch takes as an argument.

    Attributes:
        block: Scores for each thread in a block, 2 MiB in float32: an operation on a smaller one does not outweigh the
            start of its threads.
        long: From this many tokens on backward takes keys in tiles: a product of few rows with many keys spends its
            time on reading the keys.
        tile: About how many keys a tile has.
        smaller: By how much blocks of tiles are smaller: three of them at a time are most of the memory of backward.
        table: From this many tokens on the mask is read from a table of runs, below it is dense.
        slab: From this many scores in a slab on, slabs are added to the gradient one by one.
        plain: From this many scores of float32 on blocks are as fast as the plain formula, which keeps all of them.
        few: Up to this many elements of a batch are added one by one.
        short: From this many tokens on compiled loops are faster than operations of torch.
        narrow: Up to this many channels of a head they are, and up to half as many where the mask is added.
        threads: That share an operation on a CPU; 0 is as many as torch has.
    """

    block: int = 2**19
    long: int = 2048
    tile: int = 512
    smaller: int = 4
    table: int = 1024
    slab: int = 2**14
    plain: int = 2**22
    few: int = 4
    short: int = 48
    narrow: int = 32
    threads: int = 0

    def tiles(self, length: int) -> list[tuple[int, int]]:
        """Ranges of keys, about equally long, that backward takes one after another."""
        count = max(1, round(length / self.tile)) if length >= self.long else 1
        return list(pairwise(length * i // count for i in range(count + 1)))


@dataclass(frozen=True)
class Block:
    """Which scores a block holds: elements ``start … stop`` of (heads · batch), and rows ``first … last`` of each.

    It has several elements with all their rows, within one head or in whole heads; or rows of one element, as
    ``lanes`` matrices.
    """

    start: int
    stop: int
    first: int
    last: int
    lanes: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """How many matrices, and their rows."""
        return (self.stop - self.start) * self.lanes, (self.last - self.first) // self.lanes

    def heads(self, mask: Tensor, batch: int) -> slice:
        """The heads of a mask that belong to the block; a mask of one head serves all."""
        return slice(0, 1) if mask.shape[0] == 1 else slice(self.start // batch, (self.stop - 1) // batch + 1)

    def rows(self, x: Tensor) -> Tensor:
        """The block's rows of ``(heads, batch, length, d)``, as ``(matrices, rows, d)``; a view within one head."""
        part = self.elements(x)[:, self.first : self.last]
        return part.unflatten(1, (self.lanes, -1)).flatten(0, 1) if self.lanes > 1 else part

    def matrices(self, x: Tensor) -> Tensor:
        """Something of each element, ``(elements, keys, d)``, for each matrix of the block."""
        return x.expand(self.lanes, -1, -1) if self.lanes > 1 else x

    def elements(self, x: Tensor) -> Tensor:
        """The block's elements of ``(heads, batch, length, d)``, ``(elements, length, d)``; a view within one head."""
        head, element = divmod(self.start, x.shape[1])
        if self.stop - self.start <= x.shape[1] - element:
            return x[head, element : element + self.stop - self.start]
        return x[head : self.stop // x.shape[1]].flatten(0, 1)


class Plan:
    """The cuts of one pass over the scores ``(batch, heads, length, length)`` of a call.

    Attributes:
        cuts: Where attention is cut.
        heads: Of the scores.
        batch: Of the scores.
        tiles: Ranges of keys, one in forward.
        width: Keys of the widest.
        threads: That share an operation; elsewhere than on a CPU there is nothing to share out.
        size: Scores for each thread in a block.
    """

    def __init__(self, q: Tensor, cuts: Cuts, *, backward: bool) -> None:
        self.batch, self.heads, length, _ = q.shape
        self.cuts, self.tiles = cuts, cuts.tiles(length) if backward else [(0, length)]
        self.width = max(right - left for left, right in self.tiles)
        self.threads = (cuts.threads or torch.get_num_threads()) if q.device.type == "cpu" else 1
        self.size = cuts.block if len(self.tiles) == 1 else max(1, cuts.block // cuts.smaller)

    def whole(self, length: int) -> bool:
        """Whether matrices of this many tokens are small enough to be taken whole."""
        return self.width == length and length**2 <= self.size

    def elements(self, length: int) -> Iterator[Block]:
        """Blocks of whole matrices."""
        together = self.threads * max(1, round(self.size / length**2))
        if not self.batch:
            return
        if self.batch <= together:
            together = self.batch * (together // self.batch)
            for start in range(0, self.heads * self.batch, together):
                yield Block(start, min(start + together, self.heads * self.batch), 0, length)
            return
        together = math.ceil(self.batch / math.ceil(self.batch / together) / self.threads) * self.threads
        for head in range(0, self.heads * self.batch, self.batch):
            for start in range(0, self.batch, together):
                yield Block(head + start, head + min(start + together, self.batch), 0, length)

    def rows(self, element: int, first: int, last: int, step: int = 1, threads: int | None = None) -> Iterator[Block]:
        """Blocks of an element's rows, in steps of rows that must stay together."""
        threads, steps = threads or self.threads, (last - first) // step
        together = threads * max(1, round(self.size / (self.width * step)))
        # Equal blocks, rather than large ones and a small rest; what no multiple of the threads holds comes last.
        together = math.ceil(steps / max(1, round(steps / together)) / threads) * threads if steps else 1
        at = 0
        while at < steps:
            taken = min(together, steps - at)
            lanes = threads if taken >= threads else 1
            taken -= taken % lanes
            yield Block(element, element + 1, first + at * step, first + (at + taken) * step, lanes)
            at += taken
