"""Masks on rings by loops over tokens, on Python floats: offsets modulo n, one pair, one image, one wave at a time.

A kernel is the flat list of its entries, the last axis fastest: along a ring of n places those of the offsets that are
nearest to 0, n/2 rather than −n/2.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence

Position = tuple[int, ...]
Rows = list[list[float]]


def tokens(shape: Sequence[int]) -> list[Position]:
    """Positions of all tokens, the last axis fastest."""
    return list(itertools.product(*(range(n) for n in shape)))


def span(n: int, ring: bool) -> list[int]:
    """The offsets of one axis in the order of a kernel."""
    if not ring:
        return list(range(-n + 1, n))
    return [d for d in range(-n, n + 1) if -n < 2 * d <= n]


def offsets(shape: Sequence[int], rings: Sequence[bool]) -> list[Position]:
    """Every offset of a kernel in its order."""
    return list(itertools.product(*(span(n, ring) for n, ring in zip(shape, rings, strict=True))))


def nearest(q: Position, k: Position, shape: Sequence[int], rings: Sequence[bool]) -> Position:
    """Key − query, brought to the nearest of the offsets that are equal on each ring."""
    steps = []
    for a, b, n, ring in zip(q, k, shape, rings, strict=True):
        step = b - a
        while ring and 2 * step > n:
            step -= n
        while ring and 2 * step <= -n:
            step += n
        steps.append(step)
    return tuple(steps)


def mask(kernel: Sequence[float], shape: Sequence[int], rings: Sequence[bool]) -> Rows:
    """``M[q][k] = K[(k − q) mod n]``."""
    value = dict(zip(offsets(shape, rings), kernel, strict=True))
    return [[value[nearest(q, k, shape, rings)] for k in tokens(shape)] for q in tokens(shape)]


def pairs(shape: Sequence[int], rings: Sequence[bool]) -> list[int]:
    """How many pairs of tokens share each offset."""
    count: dict[Position, int] = defaultdict(int)
    for q in tokens(shape):
        for k in tokens(shape):
            count[nearest(q, k, shape, rings)] += 1
    return [count[offset] for offset in offsets(shape, rings)]


def project(rows: Rows, shape: Sequence[int], rings: Sequence[bool]) -> tuple[list[float], float]:
    """The mean over the pairs of each offset, and ``‖M − PM‖ / ‖M‖``."""
    values: dict[Position, list[float]] = defaultdict(list)
    for q, row in zip(tokens(shape), rows, strict=True):
        for k, value in zip(tokens(shape), row, strict=True):
            values[nearest(q, k, shape, rings)].append(value)
    mean = {offset: math.fsum(each) / len(each) for offset, each in values.items()}
    rest = math.fsum((value - mean[offset]) ** 2 for offset, each in values.items() for value in each)
    whole = math.fsum(value**2 for each in values.values() for value in each)
    return [mean[offset] for offset in offsets(shape, rings)], math.sqrt(rest / whole)


def images(value: Callable[[Position], float], shape: Sequence[int], rings: Sequence[bool], reach: int) -> list[float]:
    """``Σ_j K[δ + j n]`` over so many images to each side of every ring."""
    turns = list(itertools.product(*(range(-reach, reach + 1) if ring else (0,) for ring in rings)))
    sums = []
    for offset in offsets(shape, rings):
        shifted = (tuple(d + j * n for d, j, n in zip(offset, turn, shape, strict=True)) for turn in turns)
        sums.append(math.fsum(value(place) for place in shifted))
    return sums


def waves(kernel: Sequence[float], shape: Sequence[int]) -> list[complex]:
    """``Σ_δ K[δ] exp(2πi Σ_d j_d δ_d / n_d)`` on a torus, j from −⌊n/2⌋ along each axis."""
    rings = [True] * len(shape)
    spectrum = []
    for j in itertools.product(*(range(-(n // 2), n - n // 2) for n in shape)):
        total = 0j
        for offset, value in zip(offsets(shape, rings), kernel, strict=True):
            turn = sum(a * d / n for a, d, n in zip(j, offset, shape, strict=True))
            total += value * cmath.exp(2j * math.pi * turn)
        spectrum.append(total)
    return spectrum
