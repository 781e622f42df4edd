"""Figure: does a free mask learn to be a convolution? By layer and epoch, from stored runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retconv.figures import study
from retconv.figures.paired import MEAN, SEED, over_seeds, spread
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import DOUBLE, ORANGE, SEQUENTIAL, new_figure

_KEPT = ["arm", "seed", "run", "layer", "epoch", "last", "convolution", "residual", "chance", "scale", "data", "commit"]


def _read() -> pd.DataFrame:
    runs = study.read("elm")[_KEPT]
    runs["convolution"], runs["chance"] = 100 * runs["convolution"], 100 * runs["chance"]
    ends = over_seeds(runs[runs["last"]], "convolution", ["arm", "layer"])
    return study.tidy(run=runs, end=ends, rule=study.rules(runs, "elm"))


def draw() -> tuple[Figure, pd.DataFrame]:
    """The share of the mask that is a convolution, by epoch, and at the end by layer."""
    data = _read()
    runs, ends = (data[data["part"] == part] for part in ("run", "end"))
    layers = sorted(runs["layer"].unique())
    colours = SEQUENTIAL(np.linspace(0.95, 0.3, len(layers)))
    figure = new_figure(DOUBLE, 2.4)
    axes = figure.subplots(1, 2, width_ratios=[1.3, 1], sharey=True)
    for layer, colour in zip(layers, colours, strict=True):
        table = runs[runs["layer"] == layer].pivot(index="epoch", columns="seed", values="convolution")
        axes[0].plot(table.index, table, color=colour, linewidth=0.5, alpha=0.5)
        axes[0].plot(table.index, table.mean(axis=1), color=colour, linewidth=1.4, label=f"{layer + 1:.0f}")
    final = runs[runs["last"].astype(bool)]
    axes[1].plot(final["layer"] + spread(final["seed"], 0.3), final["convolution"], color="0.35", **SEED)
    axes[1].vlines(ends["layer"], ends["low"], ends["high"], color=ORANGE, linewidth=1.6)
    axes[1].plot(ends["layer"], ends["mean"], color=ORANGE, linestyle="none", **MEAN)
    for ax, text in zip(axes, "ab", strict=True):
        ax.axhline(runs["chance"].iloc[0], color="0.35", linewidth=0.8, linestyle=":", zorder=0)
        ax.spines[["top", "right"]].set_visible(False)
        letter(ax, text)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(title="layer", ncols=1 + len(layers) // 4, loc="best")
    axes[0].set(xlabel="epoch", ylabel="share that is a convolution (%)", ylim=(0, None))
    axes[1].set_xticks(layers, [f"{layer + 1:.0f}" for layer in layers])
    axes[1].set(xlabel="layer, after the last epoch", xlim=(-0.6, len(layers) - 0.4))
    study.head(figure, data)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """The share at the end, by layer, against chance."""
    ends, chance = data[data["part"] == "end"].sort_values("layer"), data["chance"].dropna().iloc[0]
    shares = ", ".join(f"{r.mean:.1f} % ({r.low:.1f}–{r.high:.1f})" for r in ends[["mean", "low", "high"]].itertuples())
    above = int((ends["low"] > chance).sum())
    return (
        f"after the last epoch, by layer, {shares} of the mask's energy is a convolution, by chance {chance:.1f} %; "
        f"in {above} of {len(ends)} layers the interval lies above chance"
    )


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "Does a free mask learn to be a convolution? The share of the energy of the element-wise mask M that its "
        "projection P M onto masks with a kernel has, 100 % − residual² (law 3): (a) by epoch and layer, thin lines "
        "for seeds and thick ones for their mean, (b) after the last epoch, seeds, means and their 95 % t intervals. "
        "Dotted: what independent random entries would have, the number of offsets over the number of pairs."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="elm_becomes_convolution",
    title="Does a free mask become a convolution?",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("elm", "verdicts"),
)
