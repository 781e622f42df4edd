"""The second construction of approximations: loops on Python floats, and exact fractions where a bound is at stake."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from fractions import Fraction

Position = tuple[int, ...]


def l1_distance(a: Sequence[float], b: Sequence[float]) -> Fraction:
    """``Σ |a − b|`` without any rounding."""
    return sum((abs(Fraction(x) - Fraction(y)) for x, y in zip(a, b, strict=True)), Fraction(0))


def effective_size(kernel: dict[Position, float], tolerance: float) -> int:
    """The first odd k whose cube leaves out at most the fraction ``tolerance``, in exact arithmetic."""
    total = sum((abs(Fraction(v)) for v in kernel.values()), Fraction(0))
    k = 1
    while True:
        outside = sum((abs(Fraction(v)) for d, v in kernel.items() if any(2 * abs(a) > k - 1 for a in d)), Fraction(0))
        if outside <= Fraction(tolerance) * total:
            return k
        k += 2


def decay_size(gamma: float, tolerance: float, axes: int, causal: bool) -> int:
    """The first odd k whose cube holds 1 − ε of the mass of γ^‖δ‖₁ on all integers, adding offset after offset."""
    g = Fraction(gamma)
    total, inside, power, radius = (1 if causal else 1 + g) / (1 - g), Fraction(1), g, 0
    while (inside / total) ** axes < 1 - Fraction(tolerance):
        inside += power if causal else 2 * power
        power *= g
        radius += 1
    return 2 * radius + 1


def truncate(kernel: dict[Position, float], size: int) -> dict[Position, float]:
    """Zero wherever some axis is further out than half the size."""
    return {d: v if all(2 * abs(a) <= size - 1 for a in d) else 0.0 for d, v in kernel.items()}


def exponential_sum(
    past: Sequence[tuple[complex, complex]], future: Sequence[tuple[complex, complex]], n: int
) -> list[float]:
    """``Re Σ w λ^|δ|`` over δ = 1 − n … n − 1, from (w, λ) of each side, by polar form."""
    values = []
    for delta in range(1 - n, n):
        terms = past if delta <= 0 else future
        values.append(
            math.fsum(
                abs(w) * abs(p) ** abs(delta) * math.cos(cmath.phase(w) + abs(delta) * cmath.phase(p)) for w, p in terms
            )
        )
    return values


def singular_values(matrix: Sequence[Sequence[float]], sweeps: int = 30) -> list[float]:
    """Singular values by one-sided Jacobi rotations (Hestenes 1958), descending: columns turned until orthogonal."""
    columns = [list(column) for column in zip(*matrix, strict=True)]
    for _ in range(sweeps):
        turned = False
        for i in range(len(columns)):
            for j in range(i + 1, len(columns)):
                a, b = columns[i], columns[j]
                aa, bb = math.fsum(x * x for x in a), math.fsum(y * y for y in b)
                ab = math.fsum(x * y for x, y in zip(a, b, strict=True))
                if abs(ab) <= 1e-16 * math.sqrt(aa * bb):
                    continue
                turned = True
                zeta = (bb - aa) / (2 * ab)
                t = math.copysign(1.0, zeta) / (abs(zeta) + math.hypot(1.0, zeta))
                c = 1 / math.hypot(1.0, t)
                columns[i] = [c * x - c * t * y for x, y in zip(a, b, strict=True)]
                columns[j] = [c * t * x + c * y for x, y in zip(a, b, strict=True)]
        if not turned:
            break
    return sorted((math.sqrt(math.fsum(x * x for x in column)) for column in columns), reverse=True)


def semiseparable_rank(mask: Sequence[Sequence[float]], tolerance: float) -> tuple[int, int]:
    """Largest rank of the blocks below and above the diagonal: singular values above ``tolerance · ‖M‖₂``."""
    floor = tolerance * singular_values(mask)[0]
    n, lower, upper = len(mask), 0, 0
    for k in range(1, n):
        below = [list(row[:k]) for row in mask[k:]]
        above = [list(row[k:]) for row in mask[:k]]
        lower = max(lower, sum(s > floor for s in singular_values(below)))
        upper = max(upper, sum(s > floor for s in singular_values(above)))
    return lower, upper
