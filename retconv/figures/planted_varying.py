"""Figure: a free mask does not become a convolution where none was planted, from a stored table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from retconv.colours import SEQUENTIAL
from retconv.figures.paired import SEED, beside
from retconv.figures.panels import letters
from retconv.figures.planted import register
from retconv.figures.style import SINGLE, new_figure

_COLUMNS = ["amount", "planted_residual", "family", "n", "seed", "grid", "residual", "distance", "expected_residual"]
_MESSAGE = "A free mask becomes a convolution where one was planted, and only there"


def finding(data: pd.DataFrame) -> str:
    """Planted and learnt residuals at most samples."""
    most = data[data["n"] == data["n"].max()]
    elm = most[most["family"] == "elm"].groupby("planted_residual")["residual"].mean()
    kernel = most[most["family"] == "table"].groupby("planted_residual")["distance"].mean()
    pairs = ", ".join(f"{p:.3f} → {residual:.3f} and {kernel[p]:.3f}" for p, residual in elm.items())
    return f"planted residual → ELM's residual and the table's distance, from {most['n'].iloc[0]:,} samples: {pairs}"


@register("varying", 180, _COLUMNS, _MESSAGE, finding)
def plot(data: pd.DataFrame) -> Figure:
    """A free mask is a convolution only where one was planted.

    Planted masks that vary in space, their kernel widening across the grid: (a) the residual ‖M − P M‖/‖M‖ of a free
    mask (law 3) by number of samples, (b) the distance of a kernel table to what was planted. Marks: seeds; lines: in
    (a) theory, in (b) means; dashed, and in numbers: the residual of what was planted, which no kernel comes below.
    """
    amounts = sorted(data["amount"].unique())
    colours = SEQUENTIAL(np.linspace(0.35, 0.95, len(amounts)))
    figure = new_figure(SINGLE, 4.3)
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    for amount, colour in zip(amounts, colours, strict=True):
        own = data[data["amount"] == amount]
        planted = own["planted_residual"].iloc[0]
        for ax, family, column in zip(axes, ("elm", "table"), ("residual", "distance"), strict=True):
            rows = own[own["family"] == family]
            ax.plot(rows["n"], rows[column], color=colour, **SEED)
            line = rows.groupby("n")[column if family == "table" else "expected_residual"].mean()
            ax.plot(line.index, line, color=colour)
            beside(ax, planted or line.iloc[-1], f"{planted:.2f}", color=colour)
            if planted:
                ax.axhline(planted, color=colour, linewidth=0.8, linestyle="--")
    letters(axes)
    for ax in axes:
        ax.set(xscale="log", yscale="log")
        ax.annotate("planted", (1, 1), (3, 4), xycoords="axes fraction", textcoords="offset points")
    axes[0].set(ylabel="residual ‖M − P M‖ / ‖M‖", title="element-wise mask: what is no convolution")
    axes[1].set(ylabel="distance ‖M − M*‖ / ‖M*‖", title="kernel table: distance to the planted", xlabel="samples")
    return figure
