"""Effective kernel and its shares of variance by loops over images, queries and keys, and convolution by definition."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.naive import Position, Rows, difference, offsets, positions


def effective(images: Sequence[Rows], shape: Sequence[int]) -> tuple[dict[Position, float], list[float]]:
    """Mean weight of each offset, and the shares of variance of offset, position and content."""
    places = positions(shape)
    found: dict[Position, list[float]] = {}
    for image in images:
        for q, row in zip(places, image, strict=True):
            for k, weight in zip(places, row, strict=True):
                found.setdefault(difference(q, k), []).append(weight)
    kernel = {offset: math.fsum(values) / len(values) for offset, values in found.items()}
    every = [weight for image in images for row in image for weight in row]
    average = math.fsum(every) / len(every)
    parts = [0.0, 0.0, 0.0]
    for i, q in enumerate(places):
        for j, k in enumerate(places):
            mean = math.fsum(image[i][j] for image in images) / len(images)
            shared = kernel[difference(q, k)]
            parts[0] += len(images) * (shared - average) ** 2
            parts[1] += len(images) * (mean - shared) ** 2
            parts[2] += math.fsum((image[i][j] - mean) ** 2 for image in images)
    total = math.fsum((weight - average) ** 2 for weight in every)
    return kernel, [part / total for part in parts]


def residual(images: Sequence[Rows], shape: Sequence[int]) -> list[float]:
    """For each query, √(Σ (A − K)² / Σ A²) over images and keys."""
    kernel, _ = effective(images, shape)
    places = positions(shape)
    result = []
    for i, q in enumerate(places):
        missed = power = 0.0
        for image in images:
            for k, weight in zip(places, image[i], strict=True):
                missed += (weight - kernel[difference(q, k)]) ** 2
                power += weight**2
        result.append(math.sqrt(missed / power))
    return result


def composed(first: Sequence[float], second: Sequence[float], shape: Sequence[int]) -> dict[Position, float]:
    """``(K ∗ L)[δ] = Σ_ε K[ε] L[δ − ε]`` at every offset that two kernels of a grid can reach together."""
    result: dict[Position, float] = {}
    for a, u in zip(offsets(shape), first, strict=True):
        for b, v in zip(offsets(shape), second, strict=True):
            where = tuple(x + y for x, y in zip(a, b, strict=True))
            result[where] = result.get(where, 0.0) + u * v
    return result
