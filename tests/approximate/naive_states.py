"""Recurrences as loops: transforms by their sums, states that are stepped, and least squares in exact fractions."""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from fractions import Fraction


def roots_of_unity(taps: Sequence[float], tokens: int) -> list[float]:
    """ETSC by its definition: all n roots except 1, weights by the double sum, responses by powers of each root."""
    size = len(taps) + 1
    padded = [*taps, -sum(taps)]
    roots = [cmath.exp(2j * cmath.pi * k / size) for k in range(1, size)]
    weights = [sum(h * root ** (-m) for m, h in enumerate(padded)) / size for root in roots]
    return [sum(w * root**m for w, root in zip(weights, roots, strict=True)).real for m in range(tokens)]


def impulse(weights: Sequence[complex], poles: Sequence[complex], tokens: int) -> list[float]:
    """What a recurrence gives of a 1 that is followed by zeros, one state for each pole, stepped."""
    states = [0j] * len(poles)
    response = []
    for m in range(tokens):
        states = [pole * state + (m == 0) for pole, state in zip(poles, states, strict=True)]
        response.append(sum(w * state for w, state in zip(weights, states, strict=True)).real)
    return response


def symbol(taps: Sequence[float], theta: float) -> complex:
    """``Σ_m h[m] exp(−i m θ)``."""
    return sum((h * cmath.exp(-1j * m * theta) for m, h in enumerate(taps)), 0j)


def least_squares(columns: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """The coefficients by normal equations and Gaussian elimination, without rounding until the end."""
    exact = [[Fraction(x) for x in column] for column in columns]
    right = [Fraction(y) for y in values]
    rows = [
        [
            *(sum(x * y for x, y in zip(a, b, strict=True)) for b in exact),
            sum(x * y for x, y in zip(a, right, strict=True)),
        ]
        for a in exact
    ]
    for i, row in enumerate(rows):
        rows[i] = row = [x / row[i] for x in row]
        for j, other in enumerate(rows):
            if j != i:
                rows[j] = [x - other[i] * y for x, y in zip(other, row, strict=True)]
    return [float(row[-1]) for row in rows]
