"""Figure: does a free mask learn to be a convolution? By epoch and layer, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retconv.figures import study
from retconv.figures.paired import over_seeds, pm
from retconv.figures.panels import in_pairs

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
    kernel holds (law 3), by epoch and layer: thin lines are seeds, thick ones their mean, whose end stands above.
    Chance is the share of independent entries; the number told is the mean over layers after the last epoch, with its
    95 % t interval.
    """
    runs = data[(data["part"] == "run") & data["learnt"].notna()]
    layers = sorted(runs["layer"].unique())
    tables = [runs[runs["layer"] == layer].pivot(index="epoch", columns="seed", values="learnt") for layer in layers]
    titles = [f"layer {n + 1:.0f}: {t.iloc[-1].mean():.0f} %" for n, t in zip(layers, tables, strict=True)]
    figure, panels = in_pairs(titles, "epoch", "share that is a convolution (%)", 1.0)
    colour = study.LOOK["elm"][0]
    for ax, table in zip(panels, tables, strict=True):
        ax.plot(table.index, table, color=colour, linewidth=0.6, alpha=0.6)
        ax.plot(table.index, table.mean(axis=1), color=colour, linewidth=1.8)
        for height, text in ((50, "half"), (runs["chance"].iloc[0], "chance")):
            ax.axhline(height, color="0.35", linewidth=0.8, linestyle=":", zorder=0)
            if ax is panels[0]:
                ax.annotate(
                    text, (table.index[-1], height), (0, 2), textcoords="offset points", ha="right", color="0.35"
                )
        ax.set_ylim(0, max(62, 1.05 * runs["learnt"].max()))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    return figure
