"""Attention over positions as loops, on Python floats."""

from __future__ import annotations

import itertools
import math


def quadratic(shape: tuple[int, ...], offset: tuple[int, ...], alpha: float) -> list[list[float]]:
    """``softmax_k(−α ‖p_k − p_q − Δ‖²)``."""
    tokens = list(itertools.product(*(range(n) for n in shape)))
    rows = []
    for query in tokens:
        far = [sum((k - q - d) ** 2 for k, q, d in zip(key, query, offset, strict=True)) for key in tokens]
        terms = [math.exp(-alpha * (distance - min(far))) for distance in far]
        rows.append([term / sum(terms) for term in terms])
    return rows


def normalised(kernel: dict[tuple[int, ...], float], shape: tuple[int, ...]) -> list[list[float]]:
    """``K[k − q] / Σ_j K[j − q]``."""
    tokens = list(itertools.product(*(range(n) for n in shape)))
    rows = []
    for query in tokens:
        row = [kernel[tuple(k - q for k, q in zip(key, query, strict=True))] for key in tokens]
        rows.append([weight / sum(row) for weight in row])
    return rows


def product(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    """``L R``."""
    columns = list(zip(*right, strict=True))
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in left]
