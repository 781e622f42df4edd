"""Planted targets by double loops, on Python floats; like ``tests.naive``, nothing here imports the package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from tests.naive import Rows, difference, mask, positions


def planted(name: str, head: int, shape: Sequence[int]) -> Rows:
    """The planted decay, or the planted mixture, as a mask."""
    if name == "decay":
        return mask(lambda q, k: (0.4, 0.7)[head] ** sum(map(abs, difference(q, k))), shape)
    sigmas, alphas = ((0.5, 2.0), (1.0, 3.0))[head], ((-0.8, 0.6), (0.7, 0.3))[head]
    return mask(
        lambda q, k: sum(
            a * math.exp(-sum(d * d for d in difference(q, k)) / (2 * (s * s + 1e-5)))
            for s, a in zip(sigmas, alphas, strict=True)
        ),
        shape,
    )


def varying(amount: float, head: int, shape: Sequence[int]) -> Rows:
    """The mask that widens along the last axis in head 0, along the first in head 1."""

    def value(q: tuple[int, ...], k: tuple[int, ...]) -> float:
        offset = difference(q, k)
        axis = -1 if head == 0 else 0
        wide = 2 ** (amount * (2 * q[axis] / (shape[axis] - 1) - 1))
        if head == 0:
            return math.exp(-sum(d * d for d in offset) / (2 * (1.2 * wide) ** 2))
        return 0.5 ** (sum(map(abs, offset)) / wide)

    return mask(value, shape)


def biased_attention(scores: Rows, bias: Rows, factor: Rows, values: Rows) -> Rows:
    """``softmax(factor ⊙ scores + bias) values``, query by query."""
    out = []
    for q in range(len(scores)):
        weights = [math.exp(factor[q][k] * scores[q][k] + bias[q][k]) for k in range(len(scores))]
        total = sum(weights)
        out.append([sum(w * v[c] for w, v in zip(weights, values, strict=True)) / total for c in range(len(values[0]))])
    return out


def design(x: Rows, shape: Sequence[int]) -> Rows:
    """Regression of targets on a kernel: a row for each query and channel, a column for each offset."""
    places = positions(shape)
    sides = [range(1 - n, n) for n in shape]
    columns = {offset: i for i, offset in enumerate(product(*sides))}
    rows = []
    for q in places:
        for channel in range(len(x[0])):
            row = [0.0] * len(columns)
            for k, token in zip(places, x, strict=True):
                row[columns[difference(q, k)]] += token[channel]
            rows.append(row)
    return rows


def best_threshold(weights: Sequence[float], task: str) -> float:
    """Most that a threshold on a weighed sum of the three signs gets right, in per cent, by trying all of them."""
    cases = []
    for signs in product((-1, 1), repeat=3):
        near, _, far = signs
        label = {"near": near > 0, "far": far > 0, "both": near > 0 and far > 0}[task]
        chance = 1 / 8 if task != "both" else (1 / 4 if label else 1 / 12)
        cases.append((sum(w * s for w, s in zip(weights, signs, strict=True)), label, chance))
    best = 0.0
    for threshold in [min(c[0] for c in cases) - 1, *(c[0] for c in cases)]:
        best = max(best, *(sum(p for v, y, p in cases if (v > threshold) == (y == up)) for up in (True, False)))
    return 100 * best
