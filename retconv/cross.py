"""Queries on one grid and keys on another: cross-attention, pooled keys, one query that is appended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike, kept
from retconv.memory import require_memory
from retconv.watching import is_traced

#: A number, for all axes alike, or one for each axis.
Numbers = int | float | Fraction | Sequence[int | float | Fraction] | None


@dataclass(frozen=True)
class Cross:
    """Queries on one grid, keys on another, in common coordinates: query i lies at i, key j at ``origin + stride · j``.

    Both are counted in steps of the queries, exactly, as fractions. By default both grids cover one extent and tokens
    lie at the centres of their cells: ``stride = n_q / n_k`` and ``origin = (stride − 1) / 2``. So keys that are pooled
    by s (PVT, Twins, MViT) lie at ``s j + (s − 1) / 2``. The n + 1 keys of one query that is appended to n tokens are
    ``Cross(1, n + 1, stride=1, origin=−n)``.

    Args:
        queries: Grid of the queries; an int is a line.
        keys: Grid of the keys, of as many axes.
        stride: Distance of neighbouring keys, in steps of the queries, positive.
        origin: Where the first key lies, in steps of the queries.

    Raises:
        ValueError: If the grids differ in their number of axes or one is periodic, there is not one stride and origin
            for each axis, or one is not finite or a stride not positive.

    Example:
        >>> Cross(4, 2).offsets()[..., 0]  # keys of two cells each: at 0.5 and 2.5
        tensor([[ 0.5000,  2.5000],
                [-0.5000,  1.5000],
                [-1.5000,  0.5000],
                [-2.5000, -0.5000]], dtype=torch.float64)
    """

    queries: Grid
    keys: Grid
    stride: tuple[Fraction, ...]
    origin: tuple[Fraction, ...]

    def __init__(self, queries: GridLike, keys: GridLike, stride: Numbers = None, origin: Numbers = None) -> None:
        queries, keys = Grid.of(queries), Grid.of(keys)
        if queries.ndim != keys.ndim:
            raise ValueError(f"Cross: queries and keys must have as many axes, got {queries} and {keys}")
        for grid in (queries, keys):
            grid.require_open("Cross", "on a ring use one periodic grid for both")
        pairs = zip(queries.shape, keys.shape, strict=True)
        strides = _fractions(stride, queries.ndim, "stride") or tuple(Fraction(q, k) for q, k in pairs)
        if min(strides) <= 0:
            raise ValueError(f"Cross: stride must be positive, got {', '.join(map(str, strides))}")
        origins = _fractions(origin, queries.ndim, "origin") or tuple((s - 1) / 2 for s in strides)
        for name, value in (("queries", queries), ("keys", keys), ("stride", strides), ("origin", origins)):
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int]:
        """``(length of the queries, length of the keys)``, prefix tokens included: a rectangular mask's."""
        return self.queries.length, self.keys.length

    def distinct(self) -> tuple[tuple[Fraction, ...], ...]:
        """Of each axis the offsets that pairs have, ascending, in steps of the finer grid."""
        return tuple(tuple(sorted({d for row in rows for d in row})) for rows in self.steps())

    @property
    def table_shape(self) -> tuple[int, ...]:
        """Shape of one head's kernel table: distinct offsets along each axis."""
        return tuple(len(axis) for axis in self.distinct())

    def offset_table(self, device: torch.device | str | None = None) -> Tensor:
        """Every offset key − query that a pair has, laid out as a kernel table.

        Returns:
            float64 ``(*table_shape, D)``, in steps of the finer grid along each axis.
        """
        # A copy: what is kept serves all crosses that are equal.
        return _offset_table(self, torch.device(device or "cpu")).clone()

    def index(self, device: torch.device | str | None = None) -> Tensor:
        """Which entry of a kernel table each pair of tokens reads.

        Returns:
            int64 ``(N_q, N_k)``.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        self.require_dense(1, torch.int64)
        return pair_index(self, torch.device(device or "cpu")).clone()

    def offsets(self, device: torch.device | str | None = None) -> Tensor:
        """Key − query of every pair of grid tokens, float64 ``(N_q, N_k, D)``, in steps of the finer grid.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        return self.offset_table(device).flatten(0, -2)[self.index(device)]

    def require_dense(self, heads: int, dtype: torch.dtype) -> None:
        """Refuse to build a dense object ``(heads, *shape)`` above the memory limit.

        Raises:
            DenseLimitError: If it would take more bytes than the limit in force.
        """
        if is_traced():
            return
        queries, keys = self.shape
        what = f"a dense ({heads}, {queries}, {keys}) {dtype} object on {self}"
        require_memory(heads * queries * keys * dtype.itemsize, what, "take fewer queries or keys at a time")

    def steps(self) -> list[list[list[Fraction]]]:
        """Of each axis the offset of every query and key."""
        lines = zip(self.queries.shape, self.keys.shape, self.stride, self.origin, strict=True)
        return [
            [[(first + step * j - i) / min(Fraction(1), step) for j in range(keys)] for i in range(queries)]
            for queries, keys, step, first in lines
        ]


@kept
def _offset_table(cross: Cross, device: torch.device) -> Tensor:
    axes = [torch.tensor([float(d) for d in axis], dtype=torch.float64, device=device) for axis in cross.distinct()]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


@kept
def pair_index(cross: Cross, device: torch.device) -> Tensor:
    """``Cross.index`` as it is kept, for those who only read it: no copy for every mask."""
    index = torch.zeros(1, 1, dtype=torch.int64, device=device)
    for rows, axis in zip(cross.steps(), cross.distinct(), strict=True):
        place = {d: i for i, d in enumerate(axis)}
        steps = torch.tensor([[place[d] for d in row] for row in rows], device=device)
        # Row-major in tokens on both sides: (queries so far, 1, keys so far, 1) and (1, n_q, 1, n_k).
        index = index[:, None, :, None] * len(axis) + steps[None, :, None, :]
        index = index.flatten(2).flatten(0, 1)
    return index


def _fractions(numbers: Numbers, axes: int, name: str) -> tuple[Fraction, ...]:
    if numbers is None:
        return ()
    each = tuple(numbers) if isinstance(numbers, Sequence) else (numbers,) * axes
    if len(each) != axes or not all(math.isfinite(number) for number in each):
        raise ValueError(f"Cross: {name} must be a finite number, or one for each of {axes} axes, got {numbers!r}")
    return tuple(Fraction(number) for number in each)
