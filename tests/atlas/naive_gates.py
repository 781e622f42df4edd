"""Masks that read data, from their formulas, pair by pair on Python floats. Nothing imports retconv or torch."""

import math
from collections.abc import Callable, Sequence

from tests.naive import Position, difference

Rows = list[list[float]]
Vector = Sequence[float]


def dot(x: Vector, w: Vector) -> float:
    """``w · x``."""
    return math.fsum(a * b for a, b in zip(x, w, strict=True))


def sigmoid(z: float) -> float:
    """Without overflow."""
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def softplus(z: float) -> float:
    """Likewise."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def causal(gates: Vector) -> Rows:
    """The product of the gates after the key, up to the query's."""
    size = range(len(gates))
    return [[math.prod(gates[k + 1 : q + 1]) if k <= q else 0.0 for k in size] for q in size]


def fox(x: Sequence[Vector], w: Vector) -> Rows:
    """Forget gates without a bias."""
    return causal([sigmoid(dot(t, w)) for t in x])


def step_gate(z: float, bias: float, rate: float) -> float:
    """``exp(−e^A softplus(z + b))``."""
    return math.exp(-math.exp(rate) * softplus(z + bias))


def ssd(x: Sequence[Vector], w: Vector, bias: float, rate: float) -> Rows:
    """Mamba-2."""
    return causal([step_gate(dot(t, w), bias, rate) for t in x])


def ppma(x: Sequence[Vector], across: Vector, down: Vector, bias: float, rate: float, shape: Sequence[int]) -> Rows:
    """Both L-shaped paths between two tokens, each the product of what it passes (eqs. 3 and 4)."""
    rows, columns = shape

    def alpha(i: int, n: int) -> float:
        return step_gate(dot(x[i * columns + n], across), bias, rate)

    def beta(n: int, j: int) -> float:
        return step_gate(dot(x[n * columns + j], down), bias, rate)

    def path(i: int, j: int, k: int, m: int) -> float:
        along = math.prod(alpha(i, n) for n in range(min(j, m) + 1, max(j, m) + 1))
        return along * math.prod(beta(n, m) for n in range(min(i, k) + 1, max(i, k) + 1))

    places = [(i, j) for i in range(rows) for j in range(columns)]
    return [[path(i, j, k, m) + path(k, m, i, j) for k, m in places] for i, j in places]


def pairs(value: Callable[[int, int, Position], float], places: Sequence[Position]) -> Rows:
    """A value of query, key and offset."""
    size = range(len(places))
    return [[value(q, k, difference(places[q], places[k])) for k in size] for q in size]


def sdt(x: Sequence[Vector], w: Vector, places: Sequence[Position]) -> Rows:
    """The geometric mean of two tokens' gates, to the power of their distance."""
    gates = [sigmoid(dot(t, w)) for t in x]
    return pairs(lambda q, k, d: math.sqrt(gates[q] * gates[k]) ** sum(map(abs, d)), places)


def locat(queries: Sequence[Vector], weight: Sequence[Vector], places: Sequence[Position], n: int) -> Rows:
    """The weight of a Gaussian that is added to a logit; the last row of the map is α's."""

    def value(q: int, _: int, d: Position) -> float:
        variances = [n * n * sigmoid(dot(queries[q], w) - math.log(n * n - 1)) + 0.1 for w in weight[:-1]]
        bump = math.exp(-sum(a * a / (2 * v) for a, v in zip(d, variances, strict=True)))
        return math.exp(softplus(dot(queries[q], weight[-1])) * bump)

    return pairs(value, places)


def gaussian(shift: Sequence[Vector], covariance: Sequence[Sequence[Vector]], places: Sequence[Position]) -> Rows:
    """On a plane, the quadratic form of the inverse by Cramer's rule."""

    def value(q: int, _: int, d: Position) -> float:
        x, y = (a - b for a, b in zip(d, shift[q], strict=True))
        (a, b), (c, e) = covariance[q]
        return math.exp(-(e * x * x - (b + c) * x * y + a * y * y) / (2 * (a * e - b * c)))

    return pairs(value, places)
