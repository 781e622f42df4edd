"""A picture as a matplotlib figure of one column: for every head its kernel, |symbol|, and a row or mass by radius."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.colours import scale
from retconv.showing.drawing import Drawing
from retconv.showing.picture import HEADS, Picture, values_of

#: Width of a column in inches, height of the panels of a head, and of a line of letters.
_WIDTH, _TALL, _LINE = 3.35, 0.76, 0.13
#: Of curves: the first colour of seaborn's palette "colorblind", which the figures have.
_LINES = "#0173b2"
#: A plane is drawn with square tokens, unless it is longer than wide, or wider than long, by more than this.
_SLENDER = 4.0
#: Letters that a line of the title holds.
_LETTERS = 62
_STYLE: Any = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "figure.titlesize": 7,
    "axes.linewidth": 0.6,
    "axes.labelpad": 1,
    "axes.titlepad": 3,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "figure.dpi": 200,
    "savefig.dpi": 200,
}


def plot(picture: Picture) -> Figure:
    """Draw a picture.

    Of kernel and row the middle slice along the first of three axes is drawn, of the symbol that at frequency 0.

    Returns:
        A figure of its own, of no window: a row of panels for each head, at most six of them.
    """
    heads = min(picture.heads, HEADS)
    columns = [] if picture.kernel is None else [_kernel, _symbol]
    columns += [] if picture.row is None else [_row]
    columns += [] if picture.mass is None else [_mass]
    title = picture.title + (f", {heads} of {picture.heads} heads" if heads < picture.heads else "")
    lines = textwrap.wrap(title, _LETTERS)
    with matplotlib.rc_context(_STYLE):
        height = _TALL * heads + _LINE * len(lines) + 0.4
        figure = Drawing(figsize=(_WIDTH, height), layout="constrained")
        figure.suptitle("\n".join(lines))
        panels = figure.subplots(heads, len(columns), squeeze=False)
        for head in range(heads):
            for ax, column in zip(panels[head], columns, strict=True):
                name, unit = column(ax, picture, head)
                # Panels above each other share their words.
                ax.set(title=name if head == 0 else "", xlabel=unit if head == heads - 1 else "")
            if picture.heads > 1:
                panels[head][0].set_ylabel(f"head {head}")
    return figure


def _kernel(ax: Axes, picture: Picture, head: int) -> tuple[str, str]:
    assert picture.kernel is not None
    values = _middle(values_of(picture.kernel[head]), 2)
    _draw(ax, values, [((1 - side) // 2, side // 2) for side in values.shape])
    return "nearest kernel" if picture.nearest else "kernel", "key − query (tokens)"


def _symbol(ax: Axes, picture: Picture, head: int) -> tuple[str, str]:
    symbol = picture.symbol(head)
    if symbol is None:
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, "none: weights\nnot finite", ha="center", va="center", transform=ax.transAxes)
        return "|symbol|", ""
    values = _middle(symbol, 1)
    _draw(ax, values, [(-(n // 2) * 2 * math.pi / n, (n - 1) // 2 * 2 * math.pi / n) for n in values.shape])
    ends = ([-math.pi, 0.0, math.pi], ("−π", "0", "π"))
    ax.set_xticks(*ends)
    ax.set_xlim(-math.pi, math.pi)
    if values.ndim == 2:
        ax.set_yticks(*ends)
        ax.set_ylim(math.pi, -math.pi)
    return "|symbol|", "θ (rad/token)"


def _row(ax: Axes, picture: Picture, head: int) -> tuple[str, str]:
    assert picture.row is not None
    values = _middle(values_of(picture.row[head]), 1)
    _draw(ax, values, [(0, side - 1) for side in values.shape])
    return f"row of {picture.query if len(picture.query) > 1 else picture.query[0]}", "key (tokens)"


def _mass(ax: Axes, picture: Picture, head: int) -> tuple[str, str]:
    assert picture.mass is not None
    radius, share = values_of(picture.mass[0]), values_of(picture.mass[1][head])
    ax.step(radius, share, where="post", linewidth=0.9, color=_LINES)
    for level in (0.5, 0.95):
        ax.axhline(level, color="0.7", linewidth=0.5, zorder=0)
    ax.set(ylim=(0, 1.03), xlim=(0, max(1.0, radius[-1])))
    ax.set_yticks([0, 0.5, 0.95], ["0", "0.5", "0.95"])
    ax.spines[["top", "right"]].set_visible(False)
    return "ℓ1 mass within", "radius (tokens)"


def _middle(values: np.ndarray, rounding: int) -> np.ndarray:
    """Of three axes the slice in the middle along the first: where the middle of n entries is, ``(n − 1)/2`` or n/2."""
    return values[(len(values) + 1 - rounding) // 2] if values.ndim == 3 else values


def _draw(ax: Axes, values: np.ndarray, ends: Sequence[tuple[float, float]]) -> None:
    """A curve of a line, an image of a plane, whose indices run from end to end; what is not finite is left white."""
    seen = np.ma.masked_invalid(values)
    low, high = (float(seen.min()), float(seen.max())) if seen.count() else (0.0, 0.0)
    if values.ndim == 1:
        (first, last), (bottom, top) = ends[0], (min(low, 0.0), max(high, 0.0))
        places, marker = np.linspace(first, last, len(values)), "." if len(values) == 1 else None
        ax.plot(places, seen, marker=marker, linewidth=0.9, color=_LINES)
        ax.axhline(0, color="0.7", linewidth=0.5, zorder=0)
        margin = 0.06 * (top - bottom or 1.0)
        ax.set(ylim=(bottom - margin, top + margin), xticks=sorted({first, 0, last}))
        ax.spines[["top", "right"]].set_visible(False)
        return
    # An axis of one entry is drawn one token wide.
    half = [
        (last - first) / (side - 1) / 2 if side > 1 else 0.5
        for (first, last), side in zip(ends, values.shape, strict=True)
    ]
    (up, down), (left, right) = ends
    extent = (left - half[1], right + half[1], down + half[0], up - half[0])
    ratio = (extent[1] - extent[0]) / (extent[2] - extent[3])
    aspect: Any = "equal" if 1 / _SLENDER <= ratio <= _SLENDER else "auto"
    image = ax.imshow(seen, extent=extent, interpolation="nearest", aspect=aspect, **scale(seen.filled(0.0), low < 0))
    ax.set(xticks=sorted({left, 0, right}), yticks=sorted({up, 0, down}))
    # Inside the panel's own coordinates a bar is as tall as the image, whatever its aspect.
    beside = ax.inset_axes((1.05, 0.0, 0.07, 1.0))
    bar = ax.figure.colorbar(image, cax=beside, ticks=[image.norm.vmin, 0.0, image.norm.vmax])
    bar.ax.set_yticklabels([_short(tick) for tick in bar.get_ticks()])
    bar.outline.set_linewidth(0.4)


def _short(value: float) -> str:
    return (f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.2g}").replace("-", "−")
