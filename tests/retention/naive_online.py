"""Retention of a causal kernel by its state of all outer products, on Python floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

Rows = Sequence[Sequence[float]]


def retention(taps: Sequence[float], q: Rows, k: Rows, v: Rows, scale: float) -> list[list[float]]:
    """``o_n = s q_n · Σ_{m ≤ n} h[n − m] k_m v_mᵀ``: the sum over m first, then the query."""
    out = []
    for n, query in enumerate(q):
        sums = [
            [math.fsum(taps[n - m] * k[m][a] * v[m][b] for m in range(n + 1)) for b in range(len(v[0]))]
            for a in range(len(query))
        ]
        out.append(
            [scale * math.fsum(x * row[b] for x, row in zip(query, sums, strict=True)) for b in range(len(v[0]))]
        )
    return out
