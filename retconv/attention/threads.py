"""Blocks on several threads of a CPU, each block on one thread.

Operations on a block last some ten microseconds: with each shared out among threads, these would spend as long waiting
for each other. Here every thread takes blocks of its own, as in fused attention, and computes each alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from retconv.attention.blocks import Block

T = TypeVar("T")


def shares(blocks: Iterable[Block], elements: int, device: torch.device) -> list[list[Block]]:
    """Blocks by thread, all blocks of an element of (heads · batch) in one share; a single share off the CPU."""
    count = min(torch.get_num_threads(), elements) if device.type == "cpu" else 1
    parts: list[list[Block]] = [[] for _ in range(count)]
    for block in blocks:
        parts[(block.start + block.stop - 1) * count // (2 * elements)].append(block)
    return [part for part in parts if part]


def run(function: Callable[[list[Block]], T], parts: list[list[Block]]) -> list[T]:
    """The results of a function of each share, computed at once; one share alone has all threads of an operation."""
    if len(parts) == 1:
        return [function(parts[0])]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # which new threads take over
    try:
        with ThreadPoolExecutor(len(parts)) as pool:
            return list(pool.map(function, parts))
    finally:
        torch.set_num_threads(threads)
