"""Curves named at their ends, so that no legend is to be looked up."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes


def name_ends(ax: Axes, ends: Iterable[tuple[float, float, str, str]], gap: float = 0.1) -> None:
    """Write names at the right of a panel whose limits and scales are set.

    Args:
        ax: The panel.
        ends: Of each curve the last point, the name and the colour.
        gap: Least distance of two names, in panel heights: those of ends that meet are moved up.
    """
    heights = [((ax.transScale + ax.transLimits).transform((x, y))[1], text, colour) for x, y, text, colour in ends]
    last = -np.inf
    for height, text, colour in sorted(heights):
        last = max(height, last + gap)
        ax.annotate(text, (1.02, last), xycoords="axes fraction", color=colour, va="center", annotation_clip=False)
