"""Systems and determinants by Gaussian elimination in exact fractions: nothing is rounded until the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def solve(matrix: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> list[list[float]]:
    """``x`` with ``matrix x = right``, column by column of the right side, by elimination and then backwards."""
    size = len(matrix)
    rows = [[*map(Fraction, a), *map(Fraction, b)] for a, b in zip(matrix, right, strict=True)]
    for i in range(size):
        pivot = next(r for r in range(i, size) if rows[r][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, size):
            factor = rows[r][i] / rows[i][i]
            if factor:
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i], strict=True)]
    solution: list[list[Fraction]] = [[] for _ in range(size)]
    for i in reversed(range(size)):
        for c in range(size, len(rows[i])):
            rest = sum((rows[i][j] * solution[j][c - size] for j in range(i + 1, size)), Fraction(0))
            solution[i].append((rows[i][c] - rest) / rows[i][i])
    return [[float(value) for value in row] for row in solution]


def determinant(matrix: Sequence[Sequence[float]]) -> Fraction:
    """The product of the pivots, with a change of sign for each exchange of rows."""
    rows, value = [[*map(Fraction, row)] for row in matrix], Fraction(1)
    for i in range(len(rows)):
        pivot = next((r for r in range(i, len(rows)) if rows[r][i] != 0), None)
        if pivot is None:
            return Fraction(0)
        if pivot != i:
            rows[i], rows[pivot], value = rows[pivot], rows[i], -value
        value *= rows[i][i]
        for r in range(i + 1, len(rows)):
            factor = rows[r][i] / rows[i][i]
            rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i], strict=True)]
    return value


def log(value: Fraction) -> float:
    """The logarithm of a positive fraction, of which numerator and denominator may be beyond any float."""
    return math.log(value.numerator) - math.log(value.denominator)
