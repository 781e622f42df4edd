"""The one way to compiled loops: whether they are there, on which tensors they run, and in how many threads.

They are those of ``retconv.operators.loops`` and ``retconv.attention.short_loops``, compiled by numba, an optional
extra (``pip install 'retconv[compiled]'``). It is imported by the first call that has use for it; what it compiles is
kept on disk.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.watching import is_differentiated, is_plain

Kind = Literal["two_sided", "causal", "anticausal"]

#: In float32 the roundings of a recursion add up over the tokens that a slow decay remembers, to n ε/2 at most. Longer
#: axes are carried in float64.
LONGEST = 64
#: A thread is worth its start from about this many entries on.
ENTRIES = 2**20
#: Threads that share a head take multiples of so many columns, that no two write to one line of the cache.
LINE = 16


@cache
def loops(module: str = "retconv.operators.loops") -> Any:
    """A module of loops, or None where numba is not installed or refuses to run."""
    if find_spec("numba") is None:
        return None
    try:
        return importlib.import_module(module)
    except ImportError:  # numba names the versions of numpy that it runs with
        return None


def serves(gamma: Tensor, dtype: torch.dtype, x: Tensor) -> bool:
    """Whether compiled loops run a decay of γ in a dtype, for an input that is cast to it."""
    return (
        dtype in (torch.float32, torch.float64)
        and is_plain(gamma, x)
        and not is_differentiated(gamma)
        and loops() is not None
    )


class DecayScan:
    """``M @ x`` for a decay by two passes along each axis, one back and one forth.

    ``γ^|δ|`` is the covariance of a first-order autoregression: with ``b_i = (1 + γ) x_i + γ b_{i+1}``,
    ``y_0 = b_0 / (1 + γ)`` and ``y_i = γ y_{i−1} + (1 − γ) b_i``. Axes that are long or one-sided are taken one after
    the other, as the sum of ``f_i = x_i + γ f_{i−1}`` and ``γ b_{i+1}``, the same backwards, or as one of them.

    Args:
        gamma: ``(heads,)``, in (0, 1].
        grid: The grid.
        kind: Which keys count.
        dtype: Of the input, which the loops serve.
    """

    def __init__(self, gamma: Tensor, grid: Grid, kind: Kind, dtype: torch.dtype) -> None:
        wide = gamma.detach().double()
        self.axes = [n for n in grid.shape if n > 1] or [1]
        self.short = kind == "two_sided" and (dtype == torch.float64 or max(grid.shape) <= LONGEST)
        if self.short:
            near, scale = wide.to(dtype).double(), (1 + wide) ** len(self.axes)
            weights = torch.stack([near, wide - near, 1 - wide, 1 / (1 + wide), scale], dim=1).to(dtype)
            last, middle, first = *reversed(self.axes), *(1,) * (3 - len(self.axes))
            self.options: tuple[object, ...] = (weights.numpy(), (last, last * middle, last * middle * first))
        else:
            self.options = (wide.numpy(), (kind != "anticausal", kind != "causal"))

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``, which autograd does not record."""
        heads, size, columns = x.shape
        x = values(x)
        count = threads(x.numel())
        if self.short:
            y = torch.empty_like(x)
            in_threads(loops().grid, parts(heads, columns, count), (x.numpy(), y.numpy(), *self.options))
            return y
        before = 1
        for n in self.axes:
            rows, after = heads * before, columns * size // (before * n)
            y = torch.empty_like(x)
            given, out = x.view(rows, n, after).numpy(), y.view(rows, n, after).numpy()
            in_threads(loops().line, parts(rows, after, count), (given, out, *self.options))
            x, before = y, before * n
        return x


def values(x: Tensor) -> Tensor:
    """A tensor that is plain, contiguous, which autograd does not follow."""
    return (x.detach() if x.requires_grad else x).contiguous()


def threads(entries: int) -> int:
    """How many of torch's threads are worth their start for a loop over so many entries."""
    return max(1, min(torch.get_num_threads(), entries // ENTRIES))


def parts(heads: int, columns: int, count: int) -> list[tuple[int, int, int, int]]:
    """Cut heads and columns for about as many threads: from which head to which, and from which column to which."""
    if count == 1:
        return [(0, heads, 0, columns)]
    if heads >= count:
        return [(*of, 0, columns) for of in ranges(heads, count)]
    width = LINE * -(-columns * heads // (count * LINE))
    starts = range(0, columns, width)
    return [(head, head + 1, start, min(start + width, columns)) for head in range(heads) for start in starts]


def ranges(size: int, count: int) -> list[tuple[int, int]]:
    """Cut so many elements into as many ranges, each its first and the one after its last."""
    if count == 1:
        return [(0, size)]
    cuts = [size * i // count for i in range(count + 1)]
    return list(itertools.pairwise(cuts))


def in_threads(loop: Callable[..., None], parts: Sequence[tuple[int, ...]], arguments: tuple[object, ...]) -> None:
    """Run a loop on each part with the same further arguments, side by side, and wait for all."""
    if len(parts) == 1:
        loop(*parts[0], *arguments)
        return
    first, *others = parts
    running = [_pool(os.getpid()).submit(loop, *part, *arguments) for part in others]
    loop(*first, *arguments)
    for part in running:
        part.result()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of a process: those of its parent are not there after a fork."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="retconv")
