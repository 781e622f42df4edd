"""The second construction of everything: double loops over tokens, on Python floats.

Nothing here imports retconv, torch or numpy, and nothing is vectorised: a mistake in the package cannot be repeated
here by sharing its code. A kernel is the flat list of its entries in row-major order of the offsets, a mask is a list
of rows, a signal is a list of N tokens of d channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

Position = tuple[int, ...]
Rows = list[list[float]]

# --- where tokens lie -----------------------------------------------------------------------------------------------


def coordinate(token: int, shape: Sequence[int]) -> Position:
    """Grid position of a token, by division with remainder from the last axis on."""
    position: list[int] = []
    for n in reversed(shape):
        token, rest = divmod(token, n)
        position.insert(0, rest)
    return tuple(position)


def positions(shape: Sequence[int]) -> list[Position]:
    """Position of every token."""
    return [coordinate(token, shape) for token in range(math.prod(shape))]


def offsets(shape: Sequence[int]) -> list[Position]:
    """Every offset of a kernel, from 1 − n to n − 1 along each axis, the last axis fastest."""
    return [
        tuple(i - (n - 1) for i, n in zip(entry, shape, strict=True)) for entry in positions([2 * n - 1 for n in shape])
    ]


def difference(q: Position, k: Position) -> Position:
    """Offset = key − query."""
    return tuple(b - a for a, b in zip(q, k, strict=True))


def entry(offset: Position, shape: Sequence[int]) -> int:
    """Where an offset stands in the flat list of a kernel."""
    index = 0
    for d, n in zip(offset, shape, strict=True):
        index = index * (2 * n - 1) + (d + n - 1)
    return index


# --- masks, kernels and what one does with them ---------------------------------------------------------------------


def mask(value: Callable[[Position, Position], float], shape: Sequence[int]) -> Rows:
    """``M[q][k] = value(q, k)`` by a double loop over positions."""
    places = positions(shape)
    return [[value(q, k) for k in places] for q in places]


def kernel(value: Callable[[Position], float], shape: Sequence[int]) -> list[float]:
    """``K[δ] = value(δ)`` by a loop over offsets."""
    return [value(offset) for offset in offsets(shape)]


def mask_of_kernel(kernel: Sequence[float], shape: Sequence[int]) -> Rows:
    """``M[q][k] = K[k − q]``."""
    return mask(lambda q, k: kernel[entry(difference(q, k), shape)], shape)


def windows(kernel: Sequence[float], shape: Sequence[int]) -> Rows:
    """Row q is the window of n entries of the kernel that starts at ``n − 1 − q`` along each axis."""
    rows = []
    for q in positions(shape):
        start = [n - 1 - a for n, a in zip(shape, q, strict=True)]
        row = []
        for step in positions(shape):
            index = 0
            for first, i, n in zip(start, step, shape, strict=True):
                index = index * (2 * n - 1) + first + i
            row.append(kernel[index])
        rows.append(row)
    return rows


def matvec(mask: Rows, x: Rows) -> Rows:
    """``y[q][c] = Σ_k M[q][k] x[k][c]``."""
    channels = range(len(x[0]))
    return [[math.fsum(row[k] * x[k][c] for k in range(len(x))) for c in channels] for row in mask]


def correlate(kernel: Sequence[float], shape: Sequence[int], x: Rows) -> Rows:
    """``y[p] = Σ_δ K[δ] x[p + δ]``, x being 0 outside the grid: no mask in sight."""
    return correlate_bank([list(kernel)] * math.prod(shape), shape, x)


def correlate_bank(bank: Rows, shape: Sequence[int], x: Rows) -> Rows:
    """``y[q] = Σ_δ K_q[δ] x[q + δ]``: a kernel of its own for each query."""
    token = {p: i for i, p in enumerate(positions(shape))}
    result = []
    for q, kernel in zip(positions(shape), bank, strict=True):
        total = [0.0] * len(x[0])
        for weight, offset in zip(kernel, offsets(shape), strict=True):
            source = token.get(tuple(a + d for a, d in zip(q, offset, strict=True)))
            if source is not None:
                total = [t + weight * v for t, v in zip(total, x[source], strict=True)]
        result.append(total)
    return result


def convolve_kernels(first: Sequence[float], second: Sequence[float], shape: Sequence[int]) -> list[float]:
    """``(K ∗ L)[δ] = Σ_ε K[ε] L[δ − ε]``, kept at the offsets of the grid."""
    place = {offset: i for i, offset in enumerate(offsets(shape))}
    result = []
    for offset in offsets(shape):
        terms = []
        for other, weight in zip(offsets(shape), first, strict=True):
            rest = place.get(difference(other, offset))
            if rest is not None:
                terms.append(weight * second[rest])
        result.append(math.fsum(terms))
    return result


def by_offset(mask: Rows, shape: Sequence[int]) -> dict[Position, list[float]]:
    """All entries of a mask, sorted by the offset of their pair."""
    found: dict[Position, list[float]] = {}
    for q, row in zip(positions(shape), mask, strict=True):
        for k, value in zip(positions(shape), row, strict=True):
            found.setdefault(difference(q, k), []).append(value)
    return found


def shift_invariant(mask: Rows, shape: Sequence[int]) -> bool:
    """Whether ``M[q + s][k + s] = M[q][k]`` for every shift: pairs of one offset hold one value."""
    return all(len(set(values)) == 1 for values in by_offset(mask, shape).values())


def projection(mask: Rows, shape: Sequence[int]) -> tuple[list[float], float]:
    """Mean of the mask over the pairs of each offset, and ``‖M − PM‖_F / ‖M‖_F``."""
    found = by_offset(mask, shape)
    mean = {offset: math.fsum(values) / len(values) for offset, values in found.items()}
    error = math.fsum((v - mean[offset]) ** 2 for offset, values in found.items() for v in values)
    norm = math.fsum(v**2 for row in mask for v in row)
    return [mean[offset] for offset in offsets(shape)], math.sqrt(error / norm)


def exact_projection(mask: Rows, shape: Sequence[int]) -> tuple[list[Fraction], Fraction]:
    """The means of ``projection``, and the square of its residual, in exact arithmetic: no number is too large."""
    found = {at: [Fraction(v) for v in values] for at, values in by_offset(mask, shape).items()}
    mean = {offset: sum(values, Fraction()) / len(values) for offset, values in found.items()}
    error = sum((v - mean[offset]) ** 2 for offset, values in found.items() for v in values)
    norm = sum(v**2 for values in found.values() for v in values)
    return [mean[offset] for offset in offsets(shape)], Fraction(error) / norm


def bank(mask: Rows, shape: Sequence[int]) -> Rows:
    """One kernel per query: ``K_q[δ] = M[q][q + δ]`` where q + δ is on the grid, else 0."""
    token = {p: i for i, p in enumerate(positions(shape))}
    kernels = []
    for q, row in zip(positions(shape), mask, strict=True):
        keys = [token.get(tuple(a + d for a, d in zip(q, offset, strict=True))) for offset in offsets(shape)]
        kernels.append([0.0 if key is None else row[key] for key in keys])
    return kernels


def outer(factors: Sequence[Sequence[Sequence[float]]], shape: Sequence[int]) -> list[float]:
    """``K[δ] = Σ_r ∏_d f_{d,r}[δ_d]`` from ``factors[d][r]``, each a list over δ_d = 1 − n_d … n_d − 1."""
    rank = range(len(factors[0]))
    return kernel(
        lambda offset: math.fsum(
            math.prod(factors[d][r][offset[d] + n - 1] for d, n in enumerate(shape)) for r in rank
        ),
        shape,
    )


# --- closed forms, each written from its source ---------------------------------------------------------------------


def causal_decay(offset: Position, gamma: float) -> float:
    """RetNet: γ^(n − m) for n ≥ m, query n = key m − offset."""
    return math.pow(gamma, -offset[0]) if offset[0] <= 0 else 0.0


def manhattan_decay(offset: Position, gamma: float) -> float:
    """RMT: γ^(|δ_1| + … + |δ_D|)."""
    return math.pow(gamma, sum(abs(d) for d in offset))


def euclidean_decay(offset: Position, gamma: float) -> float:
    """γ^‖δ‖."""
    return math.pow(gamma, math.sqrt(sum(d * d for d in offset)))


def gaussian_mixture(offset: Position, sigma: Sequence[float], alpha: Sequence[float]) -> float:
    """The paper: Σ_c α_c exp(−‖δ‖² / 2(σ_c² + 1e-5))."""
    squared = sum(d * d for d in offset)
    return math.fsum(a * math.exp(-squared / (2 * (s * s + 1e-5))) for s, a in zip(sigma, alpha, strict=True))


def gpsa(offset: Position, alpha: float, center: Sequence[float]) -> float:
    """ConViT: −α (‖δ − Δ‖² − ‖Δ‖²)."""
    return -alpha * (sum((d - c) ** 2 for d, c in zip(offset, center, strict=True)) - sum(c * c for c in center))


def alibi(offset: Position, slope: float) -> float:
    """ALiBi: −m |δ|."""
    return -slope * sum(abs(d) for d in offset)


def kerple_log(offset: Position, scale: float, rate: float) -> float:
    """KERPLE: −r_1 log(1 + r_2 |δ|)."""
    return -scale * math.log(1 + rate * sum(abs(d) for d in offset))


def kerple_power(offset: Position, scale: float, exponent: float) -> float:
    """KERPLE: −r_1 |δ|^r_2."""
    return -scale * math.pow(sum(abs(d) for d in offset), exponent)


def window(offset: Position, radius: float) -> float:
    """1 inside the box of that radius, else 0."""
    return 1.0 if all(abs(d) <= radius for d in offset) else 0.0


def normalized_retnet(q: Position, k: Position, gamma: float) -> float:
    """torchscale: D / √(Σ_k D), the sum running over the keys of the row."""
    if k[0] > q[0]:
        return 0.0
    return math.pow(gamma, q[0] - k[0]) / math.sqrt(sum(math.pow(gamma, q[0] - j) for j in range(q[0] + 1)))


def ripple(head: int, *numbers: int) -> float:
    """A free entry: some fixed number of no symmetry for each head and each tuple of integers."""
    return math.sin(1.3 + 2.1 * head + sum((1.7 + 0.6 * i) * v for i, v in enumerate(numbers)))


def swin_bias(table: Rows, height: int, width: int) -> list[Rows]:
    """Swin's bias of one window, ``[head][q][k]``, from its table of rows ``[index][head]``.

    As in its code: ``relative_coords = coords[q] − coords[k]``; add ``(W_h − 1, W_w − 1)``; multiply the first by
    ``2 W_w − 1``; the sum is ``relative_position_index``.
    """
    heads = range(len(table[0]))
    bias: list[Rows] = [[[0.0] * (height * width) for _ in range(height * width)] for _ in heads]
    for q in range(height * width):
        for k in range(height * width):
            down = q // width - k // width + height - 1
            right = q % width - k % width + width - 1
            for head in heads:
                bias[head][q][k] = table[down * (2 * width - 1) + right][head]
    return bias
