"""House style: what every figure has in common, and how it is saved without a trace of when or where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import matplotlib
import seaborn as sns
from matplotlib.figure import Figure

#: Width of one column and of both, in inches.
SINGLE, DOUBLE = 3.35, 6.9

#: Colour-blind safe colours for lines and frames; the palette's own purple and pink are too pale for thin lines.
BLUE, ORANGE, GREEN, RED, _, BROWN, _, GREY, YELLOW, CYAN = sns.color_palette("colorblind").as_hex()
PURPLE, PINK = "#882e72", "#d1267c"

_FONT = 7.0

_RC: dict[str, Any] = {
    "axes.labelpad": 2.0,
    "axes.labelsize": _FONT,
    "axes.linewidth": 0.6,
    "axes.titlepad": 4.0,
    "axes.titlesize": _FONT,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.dpi": 200,
    "figure.titlesize": _FONT + 1,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so every machine has it
    "font.size": _FONT,
    "image.interpolation": "nearest",
    "legend.fontsize": _FONT,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.title_fontsize": _FONT,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "savefig.bbox": None,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "retconv",
    "xtick.labelsize": _FONT,
    "xtick.major.pad": 2.0,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "xtick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "ytick.labelsize": _FONT,
    "ytick.major.pad": 2.0,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "ytick.minor.size": 1.5,
    "ytick.minor.width": 0.4,
}

_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}

#: Dots per inch in a notebook, which stores its pictures with the text.
SCREEN = 125


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save figures inside this block; whatever the reader's matplotlib settings are, they are the same."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(sns.plotting_context("paper") | sns.axes_style("ticks") | _RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, with constrained layout and without pyplot's global state."""
    return Figure(figsize=(width, height), layout="constrained")


def freeze(figure: Figure) -> None:
    """Lay a finished figure out once, so that it is the same in every format."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def save(figure: Figure, file: BinaryIO, form: str, dpi: float | None = None) -> None:
    """Write a figure to an open file, in the dots per inch of the style or others; equal figures give equal bytes."""
    figure.savefig(file, format=form, metadata=_METADATA[form], dpi=dpi)
