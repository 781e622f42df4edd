"""Masks between two grids by loops over pairs of tokens, in exact fractions: one pair, one offset."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction

Offset = tuple[Fraction, ...]


def offset(q: Sequence[int], k: Sequence[int], stride: Sequence[Fraction], origin: Sequence[Fraction]) -> Offset:
    """Key − query in steps of the finer of the two grids along each axis."""
    steps = []
    for i, j, s, o in zip(q, k, stride, origin, strict=True):
        apart = o + s * j - i
        steps.append(apart if s >= 1 else apart / s)
    return tuple(steps)


def pairs(
    queries: Sequence[int], keys: Sequence[int], stride: Sequence[Fraction], origin: Sequence[Fraction]
) -> list[list[Offset]]:
    """The offset of every pair, a row for each query."""
    return [
        [offset(q, k, stride, origin) for k in itertools.product(*(range(n) for n in keys))]
        for q in itertools.product(*(range(n) for n in queries))
    ]


def table(rows: list[list[Offset]]) -> list[Offset]:
    """Every offset that occurs, in order, the last axis fastest."""
    return sorted({one for row in rows for one in row})


def mask(rows: list[list[Offset]], value: Callable[[Offset], float]) -> list[list[float]]:
    """``M[q][k] = K[p_k − p_q]``."""
    return [[value(one) for one in row] for row in rows]


def project(rows: list[list[Offset]], values: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """Mean over the pairs of each offset, and ``‖M − PM‖ / ‖M‖``."""
    each: dict[Offset, list[float]] = defaultdict(list)
    for offsets, entries in zip(rows, values, strict=True):
        for one, entry in zip(offsets, entries, strict=True):
            each[one].append(entry)
    mean = {one: math.fsum(entries) / len(entries) for one, entries in each.items()}
    rest = math.fsum((entry - mean[one]) ** 2 for one, entries in each.items() for entry in entries)
    whole = math.fsum(entry**2 for entries in each.values() for entry in entries)
    return [mean[one] for one in table(rows)], math.sqrt(rest / whole)
