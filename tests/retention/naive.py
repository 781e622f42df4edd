"""The second construction of retention: loops over tokens and features, on Python numbers.

Nothing here imports retconv, torch or numpy. Queries, keys and values are lists of tokens, each a list of features.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence

Rows = list[list[float]]


def retention(q: Rows, k: Rows, v: Rows, weight: Callable[[int, int], float], scale: float) -> Rows:
    """``o_n = Σ_m s (q_n · k_m) M[n, m] v_m`` by a double loop over tokens."""
    out = []
    for n, query in enumerate(q):
        row = []
        for e in range(len(v[0])):
            terms = [
                scale * math.fsum(a * b for a, b in zip(query, key, strict=True)) * weight(n, m) * v[m][e]
                for m, key in enumerate(k)
            ]
            row.append(math.fsum(terms))
        out.append(row)
    return out


def recurrence(q: Rows, k: Rows, v: Rows, gamma: float, scale: float) -> Rows:
    """RetNet's eq. (6): S_n = γ S_{n−1} + k_nᵀ v_n, o_n = q_n S_n."""
    state = [[0.0] * len(v[0]) for _ in k[0]]
    out = []
    for query, key, value in zip(q, k, v, strict=True):
        state = [
            [gamma * s + a * b for s, b in zip(row, value, strict=True)] for row, a in zip(state, key, strict=True)
        ]
        out.append(
            [scale * math.fsum(a * row[e] for a, row in zip(query, state, strict=True)) for e in range(len(value))]
        )
    return out


def exponentials(
    offset: int,
    past: Sequence[tuple[complex, complex]],
    future: Sequence[tuple[complex, complex]],
) -> float:
    """``Re Σ w λ^(−δ)`` for δ ≤ 0 and ``Re Σ w λ^δ`` for δ > 0, from pairs (w, λ)."""
    side = past if offset <= 0 else future
    return sum((weight * pole ** abs(offset)).real for weight, pole in side)


def rotated(x: Sequence[float], position: int, angles: Sequence[float], half: bool) -> list[float]:
    """A token's features with each pair (x, y) multiplied, as x + iy, by e^{iθ position}."""
    count = len(angles)
    out = [0.0] * len(x)
    for j, theta in enumerate(angles):
        first, second = (j, j + count) if half else (2 * j, 2 * j + 1)
        turned = complex(x[first], x[second]) * cmath.exp(1j * theta * position)
        out[first], out[second] = turned.real, turned.imag
    return out


def normed(row: Sequence[float], norm: str, epsilon: float) -> list[float]:
    """A head's output after RetNet's norm: GroupNorm subtracts the mean, RMSNorm does not; ε is added to the square."""
    mean = math.fsum(row) / len(row) if norm == "group" else 0.0
    square = math.fsum((y - mean) ** 2 for y in row) / len(row)
    return [(y - mean) / math.sqrt(square + epsilon) for y in row] if norm != "none" else list(row)


def torchscale(q: Rows, k: Rows, v: Rows, gamma: float, scale: float, epsilon: float) -> Rows:
    """RetNet's reference code, parallel form of one head, with all its normalisations, up to the gate.

    ``mask / mask.sum(-1).sqrt()``; ``qk * mask``; ``qk / qk.sum(-1).abs().clamp(min=1)``; ``qk @ v``; RMSNorm.
    """
    out = []
    for n, query in enumerate(q):
        decay = [gamma ** (n - m) for m in range(n + 1)]
        root = math.sqrt(sum(decay))
        scores = [
            scale * math.fsum(a * b for a, b in zip(query, k[m], strict=True)) * decay[m] / root for m in range(n + 1)
        ]
        divisor = max(abs(math.fsum(scores)), 1.0)
        row = [math.fsum(scores[m] / divisor * v[m][e] for m in range(n + 1)) for e in range(len(v[0]))]
        size = math.sqrt(sum(y * y for y in row) / len(row) + epsilon)
        out.append([y / size for y in row])
    return out
