"""Position biases and windows of the field by their papers' formulas, on Python floats: no torch, no shared helper."""

from __future__ import annotations

import math
from collections.abc import Sequence

Position = tuple[int, ...]


def euclidean_alibi(offset: Position, slope: float) -> float:
    """CROMA: −m times the Euclidean distance."""
    return -slope * math.dist(offset, [0] * len(offset))


def gaussian_bias(offset: Position, amplitude: float, sigma: float) -> float:
    """Kim et al.: a Gaussian table with the square of an amplitude."""
    return amplitude * amplitude * math.prod(math.exp(-(d**2) / (2 * sigma**2)) for d in offset)


def xpos(offset: Position, zeta: float, angle: float) -> float:
    """Real part of (ζ e^{iθ})^(n − m), n ≥ m."""
    return (complex(zeta * math.cos(angle), zeta * math.sin(angle)) ** -offset[0]).real if offset[0] <= 0 else 0.0


def sandwich(offset: Position, scale: float, features: int = 128) -> float:
    """Product of two sinusoidal encodings, sines and cosines written out, from positions 0 and δ."""
    total = 0.0
    for j in range(features // 2):
        angle = offset[0] / 10000 ** (2 * j / features)
        total += math.sin(0.0) * math.sin(angle) + math.cos(0.0) * math.cos(angle)
    return total / scale


def cosformer(offset: Position, length: float) -> float:
    """cos(π/2 · (i − j)/M)."""
    return math.cos(math.pi / 2 * offset[0] / length)


def rotary(offset: Position, angles: Sequence[Sequence[float]]) -> float:
    """Mean over pairs of ⟨R(0) u, R(δ) u⟩ with u = (1, 0), each rotation by its own θ · δ."""
    total = 0.0
    for theta in angles:
        turn = sum(t * d for t, d in zip(theta, offset, strict=True))
        total += (math.cos(turn) * 1.0 - math.sin(turn) * 0.0) / len(angles)
    return total


def field_of_view(offset: Position, slope: float, planes: Sequence[Sequence[float]]) -> float:
    """LookHere: −m times the distance in the field, −∞ out of it."""
    for normal in planes:
        if sum(n * d for n, d in zip(normal, offset, strict=True)) < 0:
            return -math.inf
    return euclidean_alibi(offset, slope)


def t5_bucket(offset: Position, buckets: int, reach: int, causal: bool) -> int:
    """T5's code, with a nudge against the rounding of logarithms at exact bounds."""
    first, distance = 0, -offset[0]
    if not causal:
        buckets //= 2
        first = buckets if offset[0] > 0 else 0
        distance = abs(offset[0])
    distance = max(distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    far = exact + int(math.log(distance / exact) / math.log(reach / exact) * (buckets - exact) + 1e-9)
    return first + min(far, buckets - 1)


def swin_v2(
    offset: Position,
    hidden: Sequence[Sequence[float]],
    shift: Sequence[float],
    out: Sequence[float],
    window: Sequence[int],
) -> float:
    """Of query − key, in eighths of the window, on a logarithmic scale, through two layers; 16 times a sigmoid."""
    place = []
    for d, side in zip(offset, window, strict=True):
        x = -d / (side - 1) * 8 if side > 1 else 0.0
        place.append(math.copysign(math.log2(abs(x) + 1), x) / math.log2(8))
    score = 0.0
    for row, b, w in zip(hidden, shift, out, strict=True):
        score += w * max(0.0, sum(a * c for a, c in zip(row, place, strict=True)) + b)
    return 16 / (1 + math.exp(-score))


def window(offset: Position, radius: float, dilation: int) -> float:
    """Keys of the window, one by one."""
    reached = range(-int(radius), int(radius) + 1)
    return 1.0 if all(any(d == j * dilation for j in reached) for d in offset) else 0.0


def causal_window(offset: Position, length: float) -> float:
    """The last tokens, the query among them."""
    return 1.0 if 0 <= -offset[0] < length else 0.0


def strided_window(offset: Position, stride: int) -> float:
    """The near past, and each stride-th token of the far one."""
    if offset[0] > 0:
        return 0.0
    return 1.0 if offset[0] >= -stride or offset[0] in range(0, offset[0] - 1, -stride) else 0.0


# --- of positions ---------------------------------------------------------------------------------------------------


def neighbourhood(q: Position, k: Position, shape: Sequence[int], side: int, dilation: int) -> float:
    """The nearest keys of the query's residue on each axis, by sorting distances."""
    for i, j, n in zip(q, k, shape, strict=True):
        reachable = [t for t in range(n) if (t - i) % dilation == 0]
        nearest = sorted(reachable, key=lambda t, i=i: abs(t - i))[:side]
        if j not in nearest:
            return 0.0
    return 1.0


def same_window(q: Position, k: Position, sides: Sequence[int], shift: Sequence[int]) -> float:
    """Walk from the one token to the other: no tile must begin on the way."""
    for i, j, w, s in zip(q, k, sides, shift, strict=True):
        for t in range(min(i, j) + 1, max(i, j) + 1):
            if (t - s) % w == 0:
                return 0.0
    return 1.0


def block_causal(q: Position, k: Position, block: int) -> float:
    """The last token of the query's block is the last that it sees."""
    last = q[0]
    while (last + 1) % block:
        last += 1
    return 1.0 if k[0] <= last else 0.0


def dilated_segments(q: Position, k: Position, head: int, segment: int, dilation: int) -> float:
    """Both among ``start, start + r, …`` of one segment."""
    begin = 0
    while begin + segment <= q[0]:
        begin += segment
    chosen = range(begin + head % dilation, begin + segment, dilation)
    return 1.0 if q[0] in chosen and k[0] in chosen else 0.0


def fire(
    q: Position,
    k: Position,
    scale: float,
    threshold: float,
    hidden: Sequence[float],
    shift: Sequence[float],
    out: Sequence[float],
    bias: float,
) -> float:
    """f(log(1 + c |i − j|) / log(1 + c max(i, L)))."""
    x = math.log(1 + scale * abs(q[0] - k[0])) / math.log(1 + scale * max(q[0], threshold))
    return bias + sum(w * max(0.0, a * x + b) for a, b, w in zip(hidden, shift, out, strict=True))


def on_torus(q: Position, k: Position, shape: Sequence[int], kernel: Sequence[float]) -> float:
    """Walk forwards from the query around each axis until the key is met."""
    index = 0
    for i, j, n in zip(q, k, shape, strict=True):
        steps = 0
        while (i + steps) % n != j:
            steps += 1
        index = index * n + steps
    return kernel[index]
