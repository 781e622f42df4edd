"""The second construction of log-masks that extra channels realise: one entry after another, from their formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence

Position = Sequence[float]


def gaussian(q: Position, k: Position, sigma: float, alpha: float) -> float:
    """``log α − Σ (k − q)² / 2(σ² + 1e-5)``."""
    return math.log(alpha) - math.fsum((b - a) ** 2 for a, b in zip(q, k, strict=True)) / (2 * (sigma**2 + 1e-5))


def gpsa(q: Position, k: Position, alpha: float, center: Position) -> float:
    """``−α (‖δ − Δ‖² − ‖Δ‖²)``."""
    near = math.fsum((b - a - c) ** 2 for a, b, c in zip(q, k, center, strict=True))
    return -alpha * (near - math.fsum(c * c for c in center))


def shifted_gaussian(q: Position, k: Position, shift: Position, precision: Sequence[Position]) -> float:
    """``−½ Σ_d Σ_e (δ − μ)_d A_de (δ − μ)_e``."""
    off = [b - a - m for a, b, m in zip(q, k, shift, strict=True)]
    axes = range(len(off))
    return -0.5 * math.fsum(off[d] * precision[d][e] * off[e] for d in axes for e in axes)


def decay(q: int, k: int, gamma: float) -> float:
    """``log γ`` for each step from key to query, −∞ where the key comes later."""
    return math.fsum([math.log(gamma)] * (q - k)) if k <= q else -math.inf


def forget(q: int, k: int, log_gamma: Sequence[float]) -> float:
    """The gates of all tokens after the key up to the query."""
    return math.fsum(log_gamma[t] for t in range(k + 1, q + 1)) if k <= q else -math.inf


def cosines(
    q: Position, k: Position, amplitude: Sequence[float], frequency: Sequence[Position], phase: Sequence[float]
) -> float:
    """``Σ_f a_f cos(ω_f · (k − q) + φ_f)``."""
    return math.fsum(
        a * math.cos(math.fsum(w * (y - x) for w, x, y in zip(omega, q, k, strict=True)) + p)
        for a, omega, p in zip(amplitude, frequency, phase, strict=True)
    )


def neutral(rows: list[list[float]], prefix: int) -> list[list[float]]:
    """With rows and columns of 0 for prefix tokens."""
    length = len(rows) + prefix
    return [[0.0] * length for _ in range(prefix)] + [[0.0] * prefix + row for row in rows]
