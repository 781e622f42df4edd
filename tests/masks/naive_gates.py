"""The second construction of what modules read off tokens: token by token, on Python floats. Nothing imports torch."""

import math
from collections.abc import Sequence

from tests.naive import Position, difference

Rows = list[list[float]]


def linear(x: Sequence[float], weight: Sequence[float], bias: float = 0.0) -> float:
    """``w · x + b``."""
    return math.fsum([*(a * b for a, b in zip(x, weight, strict=True)), bias])


def log_sigmoid(z: float) -> float:
    """``−log(1 + e^−z)``, on the side where it does not overflow."""
    return -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))


def softplus(z: float) -> float:
    """``log(1 + e^z)``."""
    return -log_sigmoid(-z)


def step_gate(z: float, bias: float, log_rate: float) -> float:
    """``−exp(A) softplus(z + b)``."""
    return -math.exp(log_rate) * softplus(z + bias)


def spatial_decay(gate: Sequence[float], places: Sequence[Position], alpha: float) -> Rows:
    """SDT: minus the mean rate of two tokens times their distance."""
    return [
        [
            -abs(alpha * (gate[q] + gate[k]) / 2 * sum(abs(d) for d in difference(places[q], places[k])))
            for k in range(len(places))
        ]
        for q in range(len(places))
    ]


def locat(logits: Sequence[Sequence[float]], places: Sequence[Position], n: int, ratio: float, epsilon: float) -> Rows:
    """LocAt: each query's own Gaussian, times its own weight; the last logit is the weight's."""
    largest = float(n * n)
    turn = math.log(largest - 1) if largest > 2 else 0.0
    rows = []
    for q, z in enumerate(logits):
        variances = [ratio * largest / (1 + math.exp(-(x - turn))) + epsilon for x in z[:-1]]
        row = []
        for key in places:
            exponent = math.fsum(d * d / v for d, v in zip(difference(places[q], key), variances, strict=True))
            row.append(softplus(z[-1]) * math.exp(-exponent / 2))
        rows.append(row)
    return rows
