"""The atlas of heads: a small picture of every effective kernel."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.colours import scale
from retconv.heads.layer import LayerLook
from retconv.heads.verdicts import NOT_A_CONVOLUTION
from retconv.showing.drawing import Drawing

#: Width of one column, and of each head beyond six, in inches; size of the letters in points.
_COLUMN, _EACH, _FONT = 3.35, 0.56, 6.0
#: Room for the numbers of layers, in inches.
_MARGIN = 0.25
#: Height of a line of letters, in inches.
_LINE = 0.1
#: A letter takes about this part of an inch.
_LETTER = 0.04
#: How the frame of a kernel shows its kind.
COLOURS = {
    "local": "#0173b2",
    "convolution": "#029e73",
    "position": "#de8f05",
    "content": "#d55e00",
    "uniform": "#949494",
    "mixed": "#cc78bc",
}


def plot_heads(layers: Sequence[LayerLook], title: str, width: float | None = None) -> Figure:
    """Draw effective kernels by layer (down) and head (right).

    Each kernel goes from white, 0, to its own largest weight, with offset 0 in the middle; below it stands the share of
    the variance of its weights that it explains, and its frame has the colour of its kind. Of three axes the middle
    slice along the first is drawn.

    Args:
        layers: What is drawn.
        title: Title of the figure.
        width: In inches; by default 3.35 up to six heads, and 0.56 for each further head.
    """
    heads = max(len(layer.kernel) for layer in layers)
    width = max(_COLUMN, _EACH * heads) if width is None else width
    shapes = [section(layer, 0).shape for layer in layers]
    cell = (width - _MARGIN) / max(heads, 6)
    ratios = [min(1.0, shape[0] / shape[1]) if len(shape) > 1 else 0.5 for shape in shapes]
    heights = [(cell - 0.06) * ratio + 1.6 * _LINE for ratio in ratios]
    caption = textwrap.wrap(NOT_A_CONVOLUTION, int(width / _LETTER))
    lines = textwrap.wrap(title, int(width / _LETTER / 1.1))
    top, bottom = _LINE * (len(lines) + 2.2), _LINE * (len(caption) + 2.2)
    figure = Drawing(figsize=(width, sum(heights) + top + bottom))
    height = figure.get_figheight()
    down = top
    for i, (layer, tall) in enumerate(zip(layers, heights, strict=True)):
        for head, row in enumerate(layer.rows):
            left, low = _MARGIN + head * cell + 0.03, height - down - tall + 1.4 * _LINE
            box = (left / width, low / height, (cell - 0.06) / width, (tall - 1.6 * _LINE) / height)
            name = f"head {head}" if cell > 0.4 else f"{head}"
            _draw(figure.add_axes(box), section(layer, head), row, "" if i else name)
        figure.text(0.06 / width, 1 - (down + tall / 2) / height, f"{i}", fontsize=_FONT, va="center")
        down += tall
    figure.text(0.02 / width, 1 - (top - 0.2 * _LINE) / height, "layer", fontsize=_FONT, va="bottom")
    figure.text(0.02 / width, 1 - 0.5 * _LINE / height, "\n".join(lines), fontsize=_FONT + 0.5, va="top")
    figure.text(0.02 / width, 0.4 * _LINE / height, "\n".join(caption), fontsize=_FONT - 0.5, va="bottom", color="0.3")
    _legend(figure, (len(caption) + 1) * _LINE, {row["kind"] for layer in layers for row in layer.rows})
    return figure


def section(layer: LayerLook, head: int) -> np.ndarray:
    """What is drawn of a kernel: itself, of three axes the middle slice along the first."""
    kernel = layer.kernel[head].cpu().numpy()
    return kernel[kernel.shape[0] // 2] if kernel.ndim == 3 else kernel


def _draw(ax: Axes, values: np.ndarray, row: Mapping[str, Any], title: str) -> None:
    """One kernel in its frame, above its share."""
    if values.ndim == 1:
        ax.plot(np.arange(len(values)) - len(values) // 2, values, linewidth=0.8, color="0.15")
        ax.set_ylim(min(0.0, 1.05 * values.min()), 1.05 * values.max() or 1.0)
    else:
        ax.imshow(values, aspect="auto", interpolation="nearest", **scale(values, bool(values.min() < 0)))
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set(color=COLOURS[row["kind"]], linewidth=1.0)
    share = "flat" if math.isnan(row["explained"]) else f"{row['explained']:.2f}"
    ax.set_xlabel(share, fontsize=_FONT, labelpad=1.0)
    ax.set_title(title, fontsize=_FONT, pad=2.0)


def _legend(figure: Figure, low: float, kinds: set[str]) -> None:
    """The colours of the frames, in the order of ``COLOURS``."""
    width, height = figure.get_size_inches()
    place = 0.02
    for kind in (kind for kind in COLOURS if kind in kinds):
        figure.text(place / width, low / height, f"■ {kind}", fontsize=_FONT - 0.5, color=COLOURS[kind], va="bottom")
        place += _LETTER * (len(kind) + 4)
