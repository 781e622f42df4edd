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

import torch
from torch import Tensor

#: Scores for each thread in a block, 2 MiB in float32: an operation on a smaller one does not outweigh the start of its
#: threads.
BLOCK = 2**19
#: From ``LONG`` tokens on backward takes keys in tiles of about ``TILE``: a product of few rows with many keys spends
#: its time on reading the keys.
LONG, TILE = 2048, 512
#: By how much blocks of tiles are smaller: three of them at a time are most of the memory that backward needs.
SMALLER = 4


def tiles(length: int) -> list[tuple[int, int]]:
    """Ranges of keys, about equally long, that backward takes one after another."""
    count = max(1, round(length / TILE)) if length >= LONG else 1
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


def whole(length: int, size: int) -> bool:
    """Whether matrices of this many tokens are small enough to be taken whole."""
    return length**2 <= size


def elements(heads: int, batch: int, length: int, threads: int, size: int) -> Iterator[Block]:
    """Blocks of whole matrices, of about ``size`` scores for each thread."""
    together = threads * max(1, round(size / length**2))
    if not batch:
        return
    if batch <= together:
        together = batch * (together // batch)
        for start in range(0, heads * batch, together):
            yield Block(start, min(start + together, heads * batch), 0, length)
        return
    together = math.ceil(batch / math.ceil(batch / together) / threads) * threads
    for head in range(heads):
        for start in range(0, batch, together):
            yield Block(head * batch + start, head * batch + min(start + together, batch), 0, length)


def cut(element: int, first: int, last: int, columns: int, threads: int, size: int, step: int = 1) -> Iterator[Block]:
    """Blocks of an element's rows, in steps of rows that must stay together, about ``size`` scores for each thread."""
    steps = (last - first) // step
    together = threads * max(1, round(size / (columns * step)))
    # Equal blocks, rather than large ones and a small rest; what no multiple of the threads holds comes last.
    together = math.ceil(steps / max(1, round(steps / together)) / threads) * threads if steps else 1
    at = 0
    while at < steps:
        taken = min(together, steps - at)
        lanes = threads if taken >= threads else 1
        taken -= taken % lanes
        yield Block(element, element + 1, first + at * step, first + (at + taken) * step, lanes)
        at += taken


def threads_of(device: torch.device) -> int:
    """How many threads share an operation; elsewhere than on a CPU there is nothing to share out."""
    return torch.get_num_threads() if device.type == "cpu" else 1
