"""Figure: does a free mask learn to be a convolution? By epoch and layer, from stored runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retconv.colours import SEQUENTIAL
from retconv.figures import study
from retconv.figures.paired import beside, over_seeds, pm
from retconv.figures.style import SINGLE, new_figure

_KEPT = ["arm", "seed", "run", "layer", "epoch", "learnt", "chance", "data", "commit"]


def _tabulate(stored: pd.DataFrame) -> pd.DataFrame:
    runs = stored.assign(learnt=100 * stored["learnt"], chance=100 * stored["chance"])
    last = runs[runs["last"].astype(bool)]
    overall = last.groupby(["arm", "seed"])["learnt"].mean().reset_index()
    return study.tidy(run=runs[_KEPT], mean=over_seeds(overall, "learnt", ["arm"]))


def _message(data: pd.DataFrame) -> str:
    """Whether more than half of what was learnt is a convolution."""
    row = data[data["part"] == "mean"].iloc[0]
    share = f"{pm(row, 0, sign=False)} %"
    if row["low"] > 50:
        return f"A free mask learns to be a convolution, by {share}"
    if row["high"] < 50:
        return f"A free mask does not become a convolution: {share} of what it learns"
    return f"Undecided: is half of what a free mask learns a convolution? ({share})"


@study.register("elm_becomes_convolution", 290, "cifar_small", ["study_cifar_small_elm"], _tabulate, _message)
def plot(data: pd.DataFrame) -> Figure:
    """Does a free mask become a convolution?

    Of the energy of what an element-wise mask learnt since its start, the share that its projection onto masks with a
    kernel holds (law 3), by epoch and layer: thin lines are seeds, thick ones their mean. Chance is the share of
    independent entries; the number told is the mean over layers after the last epoch, with its 95 % t interval.
    """
    runs = data[(data["part"] == "run") & data["learnt"].notna()]
    layers = sorted(runs["layer"].unique())
    figure = new_figure(SINGLE, 2.3)
    ax = figure.subplots()
    for layer, colour in zip(layers, SEQUENTIAL(np.linspace(0.95, 0.35, len(layers))), strict=True):
        table = runs[runs["layer"] == layer].pivot(index="epoch", columns="seed", values="learnt")
        ax.plot(table.index, table, color=colour, linewidth=0.5, alpha=0.5)
        ax.plot(table.index, table.mean(axis=1), color=colour, linewidth=1.6, label=f"layer {layer + 1:.0f}")
    for height, text in ((50, "half"), (runs["chance"].iloc[0], "chance")):
        ax.axhline(height, color="0.35", linewidth=0.8, linestyle=":", zorder=0)
        beside(ax, height, text, color="0.35")
    ax.set(xlabel="epoch", ylabel="share that is a convolution (%)", ylim=(0, 100))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper right", ncols=2)
    return figure
