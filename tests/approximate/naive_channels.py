"""The second construction of extra channels: exact ranks by elimination on fractions, and exact errors."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

Rows = Sequence[Sequence[float | None]]


def rank(rows: Sequence[Sequence[Fraction]]) -> int:
    """By elimination, without any rounding."""
    left, number = [list(row) for row in rows], 0
    for column in range(len(left[0]) if left else 0):
        pivot = next((i for i in range(number, len(left)) if left[i][column] != 0), None)
        if pivot is None:
            continue
        left[number], left[pivot] = left[pivot], left[number]
        for i in range(number + 1, len(left)):
            factor = left[i][column] / left[number][column]
            left[i] = [a - factor * b for a, b in zip(left[i], left[number], strict=True)]
        number += 1
    return number


def count(log_mask: Rows) -> int:
    """Rank of a log-mask whose rows have mean 0, by the definition."""
    exact = [[Fraction(x) for x in row if x is not None] for row in log_mask]
    return rank([[x - sum(row) / len(row) for x in row] for row in exact])


def causal_count(log_mask: Rows) -> int:
    """The least rank of ``L − c 1ᵀ`` when all above the diagonal is free, by ranks of blocks below it.

    A row of ones below L makes c one more direction: the least rank of that is one more.
    """
    n = len(log_mask)
    bordered = [[Fraction(row[k] or 0) for k in range(n)] for row in log_mask] + [[Fraction(1)] * n]
    total = 0
    for k in range(n):
        seeing = bordered[k:]
        total += rank([row[: k + 1] for row in seeing]) - rank([row[:k] for row in seeing] if k else [])
    return total - 1


def error(log_mask: Rows, query: Sequence[Sequence[float]], key: Sequence[Sequence[float]]) -> Fraction:
    """Half of the range of ``L − u · w`` over the visible keys of the worst row, without any rounding."""
    worst = Fraction(0)
    for row, u in zip(log_mask, query, strict=True):
        left = [
            Fraction(x) - sum((Fraction(a) * Fraction(b) for a, b in zip(u, w, strict=True)), Fraction(0))
            for x, w in zip(row, key, strict=True)
            if x is not None
        ]
        worst = max(worst, (max(left) - min(left)) / 2)
    return worst
