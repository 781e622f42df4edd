"""Figure: which masks find a planted convolution, and from how many samples, from a stored table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from retconv.figures.paired import SEED
from retconv.figures.panels import letters
from retconv.figures.planted import FAMILIES, register
from retconv.figures.style import SINGLE, new_figure

_COLUMNS = ["planted", "family", "n", "seed", "grid", "parameters", "distance", "squared", "expected", "floor", "norm"]
_COLUMNS += ["tokens", "residual", "squared_projected"]
_MESSAGE = "A mask that can hold the kernel finds it, the sooner the less else it can hold"
_PLANTED = {"decay": "planted: a decay", "mixture": "planted: a mixture", "free": "planted: a free kernel"}


def _draw(ax: Axes, data: pd.DataFrame) -> None:
    for family, (colour, marker, _) in FAMILIES.items():
        own = data[data["family"] == family]
        ax.plot(own["n"], own["distance"], color=colour, **SEED | {"marker": marker})
        if (own["floor"] > 0).any():
            ax.axhline(np.sqrt(own["floor"] / own["norm"]).iloc[0], color=colour, linewidth=0.9, linestyle="--")
            continue
        theory = own.drop_duplicates("n")
        for part in (theory[theory["n"] < theory["tokens"]], theory[theory["n"] > theory["tokens"]]):
            # Only of the element-wise mask is the theory exact for few samples.
            if family == "elm" or (part["n"] > part["tokens"]).all():
                ax.plot(part["n"], np.sqrt(part["expected"] / part["norm"]), color=colour)
    ax.set(xscale="log", yscale="log")


def finding(data: pd.DataFrame) -> str:
    """Samples until each family is within a tenth, and how well theory tells the distance."""
    decay = data[data["planted"] == "decay"].groupby(["family", "n"])["distance"].mean()
    parts = []
    for family, (_, _, name) in FAMILIES.items():
        near = decay[family][decay[family] < 0.1]
        parts.append(f"{name} {'never' if near.empty else f'{near.index[0]:,}'}")
    enough = data[(data["n"] >= 8 * data["tokens"]) & (data["floor"] == 0)]
    ratio = (enough["squared"] / enough["expected"]).groupby([enough["planted"], enough["family"]]).mean()
    return (
        f"samples until the distance to the planted decay is below 0.1: {', '.join(parts)}; from 8 samples a token on "
        f"the mean squared distance is {ratio.min():.2f} to {ratio.max():.2f} times that of theory"
    )


def _numbers(data: pd.DataFrame) -> dict[str, object]:
    counts = data.drop_duplicates("family").set_index("family")["parameters"]
    return {"numbers": ", ".join(f"{name} {counts[family]:,}" for family, (_, _, name) in FAMILIES.items())}


@register("recovery", 170, _COLUMNS, _MESSAGE, finding, _numbers)
def plot(data: pd.DataFrame) -> Figure:
    """Planted convolutions are found.

    Planted convolutions: white tokens and noisy targets M* x, learnt under the placement `convolution` by four families
    of masks (learnable numbers: {numbers}). Marks: ‖M − M*‖/‖M*‖ of each seed. Lines: theory, p s²/n for p numbers, for
    ELM N² s²/(n − N − 1) a head, and its shortest solution below n = N tokens; dashed: the nearest member of a family
    that does not hold the kernel.
    """
    figure = new_figure(SINGLE, 5.2)
    axes = figure.subplots(3, 1, sharex=True, sharey=True)
    letters(axes)
    for ax, (planted, title) in zip(axes, _PLANTED.items(), strict=True):
        _draw(ax, data[data["planted"] == planted])
        ax.set(title=title, ylabel="relative distance")
    axes[-1].set_xlabel(
        f"samples\nmarks: seeds; lines: theory, infinite near {data['tokens'].iloc[0]} samples (tokens);\n"
        "dashed: the nearest that a family can come"
    )
    handles = [Line2D([], [], color=c, marker=m, label=name) for c, m, name in FAMILIES.values()]
    axes[0].legend(handles=handles, loc="lower center", bbox_to_anchor=(0.45, 1.14), ncols=2)
    return figure
