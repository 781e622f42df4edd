"""Oracles of the data part, on Python numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence


def is_sainte_lague(taken: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether seats are shared out as Sainte-Laguë's divisor method does.

    Its characterisation (Balinski and Young 1982, *Fair Representation*): no class that has a seat got it for a smaller
    quotient ``size / (2 seats − 1)`` than another class is waiting for its next one with, ``size / (2 seats + 1)``.
    """
    last = min((size / (2 * seats - 1) for seats, size in zip(taken, sizes, strict=True) if seats), default=math.inf)
    waiting = max((size / (2 * seats + 1) for seats, size in zip(taken, sizes, strict=True) if seats < size), default=0)
    return last >= waiting * (1 - 1e-12)


def mean_and_deviation(images: Sequence[Sequence[Sequence[Sequence[int]]]], channel: int) -> tuple[float, float]:
    """Mean and standard deviation of all pixels of a channel, in units of 255."""
    pixels = [pixel / 255 for image in images for row in image[channel] for pixel in row]
    mean = math.fsum(pixels) / len(pixels)
    return mean, math.sqrt(math.fsum((pixel - mean) ** 2 for pixel in pixels) / len(pixels))
