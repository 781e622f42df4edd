"""The second construction of what ``retconv.analysis`` measures: loops over offsets, queries and keys.

Like ``tests.naive``, this imports neither retconv nor torch nor numpy.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence

from tests.naive import Position, Rows, difference, offsets, positions

Weigh = Callable[[Position, float], float]


def symbol(kernel: Sequence[float], shape: Sequence[int], theta: Sequence[float]) -> complex:
    """``(M x)[q] / x[q]`` for the plane wave ``x[p] = exp(iθ·p)`` at q = 0, on a grid without border."""
    total = 0j
    for weight, offset in zip(kernel, offsets(shape), strict=True):
        key = sum(d * t for d, t in zip(offset, theta, strict=True))
        total += weight * cmath.exp(1j * key)
    return total


def decay_symbol(theta: Sequence[float], gamma: float) -> float:
    """Law 7, one factor for each axis."""
    return math.prod((1 - gamma**2) / (1 - 2 * gamma * math.cos(t) + gamma**2) for t in theta)


def mean_share(rows: list[list[tuple[Position, float]]], value: Weigh) -> float:
    """Mean over rows that have mass of ``Σ |w| value / Σ |w|``; a row lists the offset and weight of each key."""
    shares = []
    for row in rows:
        mass = math.fsum(abs(w) for _, w in row)
        if mass > 0:
            shares.append(math.fsum(abs(w) * value(d, abs(w) / mass) for d, w in row) / mass)
    return math.fsum(shares) / len(shares)


def rows_of_mask(mask: Rows, shape: Sequence[int]) -> list[list[tuple[Position, float]]]:
    """For each query, the offset and weight of every key that the grid has."""
    return [
        [(difference(q, k), weight) for k, weight in zip(positions(shape), row, strict=True)]
        for q, row in zip(positions(shape), mask, strict=True)
    ]


def row_of_kernel(kernel: Sequence[float], shape: Sequence[int]) -> list[list[tuple[Position, float]]]:
    """The one row of a query that no border is near to."""
    return [list(zip(offsets(shape), kernel, strict=True))]


def distance(offset: Position) -> float:
    return math.sqrt(sum(d * d for d in offset))


def chebyshev(offset: Position) -> float:
    return max(abs(d) for d in offset)


def within(
    rows: list[list[tuple[Position, float]]], radius: float, measure: Callable[[Position], float] = distance
) -> float:
    return mean_share(rows, lambda d, _: 1.0 if measure(d) <= radius else 0.0)


def radius_of(
    rows: list[list[tuple[Position, float]]], share: float, measure: Callable[[Position], float] = distance
) -> float:
    """The first of all distances, tried in turn, within which the share is reached."""
    for radius in sorted({measure(d) for row in rows for d, _ in row}):
        if within(rows, radius, measure) >= share - 1e-12:
            return radius
    raise AssertionError("no radius holds the share")


def entropy(rows: list[list[tuple[Position, float]]]) -> float:
    return mean_share(rows, lambda _, p: -math.log(p) if p > 0 else 0.0)


def own_and_near(rows: list[list[tuple[Position, float]]]) -> tuple[float, float]:
    """Mean signed self-weight, and mean over queries of the mean signed weight of the neighbours that it has."""
    own, near = [], []
    for row in rows:
        own += [w for d, w in row if not any(d)]
        beside = [w for d, w in row if sum(map(abs, d)) == 1]
        near.append(math.fsum(beside) / len(beside) if beside else 0.0)
    return math.fsum(own) / len(own), math.fsum(near) / len(near)
