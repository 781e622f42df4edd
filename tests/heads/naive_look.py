"""What a look tells, by loops over images, queries and keys, on Python floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tests.naive import Position, Rows, difference, positions


def wrapped(offset: Position, shape: Sequence[int]) -> Position:
    """The offset modulo n."""
    return tuple(d % n for d, n in zip(offset, shape, strict=True))


def share(images: Sequence[Rows], shape: Sequence[int], key: Callable[[Position], Position] = lambda d: d) -> float:
    """The share of the variance of all weights that their mean over pairs of equal (keyed) offset explains."""
    groups: dict[Position, list[float]] = {}
    for image in images:
        for q, row in zip(positions(shape), image, strict=True):
            for k, weight in zip(positions(shape), row, strict=True):
                groups.setdefault(key(difference(q, k)), []).append(weight)
    every = [weight for group in groups.values() for weight in group]
    average = math.fsum(every) / len(every)
    between = math.fsum(len(g) * (math.fsum(g) / len(g) - average) ** 2 for g in groups.values())
    return between / math.fsum((weight - average) ** 2 for weight in every)


def circulant(images: Sequence[Rows], shape: Sequence[int]) -> float:
    """The share of the nearest block-circulant matrix."""
    return share(images, shape, lambda offset: wrapped(offset, shape))


def explained_by(images: Sequence[Rows], shape: Sequence[int], kernel: dict[Position, float]) -> float:
    """The share that a kernel explains: 1 − Σ (A − K)² / Σ (A − mean)²."""
    every = [weight for image in images for row in image for weight in row]
    average = math.fsum(every) / len(every)
    missed = 0.0
    for image in images:
        for q, row in zip(positions(shape), image, strict=True):
            for k, weight in zip(positions(shape), row, strict=True):
                missed += (weight - kernel[difference(q, k)]) ** 2
    return 1 - missed / math.fsum((weight - average) ** 2 for weight in every)


def variation(images: Sequence[Rows]) -> float:
    """Standard deviation of all weights over their mean."""
    every = [weight for image in images for row in image for weight in row]
    average = math.fsum(every) / len(every)
    return math.sqrt(math.fsum((weight - average) ** 2 for weight in every) / len(every)) / average


def prefix_share(images: Sequence[Rows], prefix: int) -> float:
    """The share of the weight of grid queries that goes to prefix tokens."""
    to_prefix = math.fsum(weight for image in images for row in image[prefix:] for weight in row[:prefix])
    return to_prefix / math.fsum(weight for image in images for row in image[prefix:] for weight in row)


def logit(share: float) -> float:
    """The logarithm of what is explained over what is not."""
    return math.log(share / (1 - share))


def jackknife(
    groups: Sequence[Sequence[Rows]], shape: Sequence[int], bend: Callable[[float], float] = float
) -> tuple[float, float]:
    """The delete-m_j jackknife of ``share``, or of what ``bend`` makes of it: estimate and standard error."""
    everything = [image for group in groups for image in group]
    whole, count, n = bend(share(everything, shape)), len(groups), len(everything)
    without = [
        bend(share([image for j, other in enumerate(groups) if j != i for image in other], shape)) for i in range(count)
    ]
    estimate = count * whole - math.fsum((1 - len(g) / n) * w for g, w in zip(groups, without, strict=True))
    total = 0.0
    for group, left in zip(groups, without, strict=True):
        h = n / len(group)
        total += (h * whole - (h - 1) * left - estimate) ** 2 / (h - 1)
    return estimate, math.sqrt(total / count)
