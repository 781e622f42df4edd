"""The second construction of gates: products along paths, gate by gate, on Python floats. Nothing imports torch."""

import math
from collections.abc import Sequence

Rows = list[list[float]]


def gate(log_gamma: float) -> float:
    """γ of its logarithm."""
    return 0.0 if log_gamma == -math.inf else math.exp(log_gamma)


def line(log_gamma: Sequence[float], causal: bool = True) -> Rows:
    """``M[q][k]``: every gate after the earlier token, up to and with the later one, multiplied in."""
    rows = []
    for q in range(len(log_gamma)):
        row = []
        for k in range(len(log_gamma)):
            product = 1.0
            for t in range(min(q, k) + 1, max(q, k) + 1):
                product *= gate(log_gamma[t])
            row.append(0.0 if causal and k > q else product)
        rows.append(row)
    return rows


def line_log(log_gamma: Sequence[float], causal: bool = True) -> Rows:
    """The logarithm, as a sum without rounding errors on the way."""
    size = range(len(log_gamma))
    sums = [[math.fsum(log_gamma[min(q, k) + 1 : max(q, k) + 1]) for k in size] for q in size]
    return [[-math.inf if causal and k > q else sums[q][k] for k in size] for q in size]


def polyline(log_gammas: Sequence[Sequence[float]], shape: Sequence[int], both: bool = False) -> Rows:
    """A walk from query to key, token by token, the last axis first; each step takes the gate of its larger end."""

    def token(place: Sequence[int]) -> int:
        index = 0
        for i, n in zip(place, shape, strict=True):
            index = index * n + i
        return index

    places: list[list[int]] = [[]]
    for n in shape:
        places = [[*place, i] for place in places for i in range(n)]

    def walk(start: list[int], end: list[int]) -> float:
        here, product = list(start), 1.0
        for axis in reversed(range(len(shape))):
            while here[axis] != end[axis]:
                step = 1 if end[axis] > here[axis] else -1
                larger = list(here)
                larger[axis] = max(here[axis], here[axis] + step)
                product *= gate(log_gammas[axis][token(larger)])
                here[axis] += step
        return product

    return [[walk(q, k) + (walk(k, q) if both else 0.0) for k in places] for q in places]


def retention(q: Rows, k: Rows, v: Rows, log_gamma: Sequence[float], scale: float) -> Rows:
    """``S ← γ_n S + k_n v_nᵀ``, ``o_n = s q_n S``, feature by feature."""
    state = [[0.0] * len(v[0]) for _ in k[0]]
    out = []
    for n, (query, key, value) in enumerate(zip(q, k, v, strict=True)):
        for a in range(len(key)):
            for b in range(len(value)):
                state[a][b] = gate(log_gamma[n]) * state[a][b] + key[a] * value[b]
        rows = zip(query, state, strict=True)
        products = [[scale * x * y for y in row] for x, row in rows]
        out.append([math.fsum(column) for column in zip(*products, strict=True)])
    return out


def quadratic(offset: Sequence[float], shift: Sequence[float], precision: Sequence[Sequence[float]]) -> float:
    """``−½ (δ − μ)ᵀ P (δ − μ)``, term by term."""
    off = [d - m for d, m in zip(offset, shift, strict=True)]
    axes = range(len(off))
    return -0.5 * math.fsum(off[a] * precision[a][b] * off[b] for a in axes for b in axes)
