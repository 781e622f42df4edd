"""Figures: what is lost when masks are cut to small kernels, or attention becomes its effective kernel."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import (
    MEAN,
    SEED,
    band,
    by_arm,
    foot_of_arms,
    over_seeds,
    pm,
    side,
    spread,
)
from retconv.figures.style import ORANGE, SINGLE, new_figure

_TABLES = ("study_cifar_small_kernel_swap",)
_KEPT = ["arm", "seed", "run", "k", "layer", "change", "data", "commit"]
#: The side that the study's rules name.
_K = 5


def _truncated(runs: pd.DataFrame) -> pd.DataFrame:
    runs = runs[runs["kind"] == "truncated"]
    return study.tidy(run=runs[_KEPT], mean=over_seeds(runs, "change", ["arm", "k"]))


def _truncated_message(data: pd.DataFrame) -> str:
    """How many masks lose less than what matters at 5×5."""
    rows = data[(data["part"] == "mean") & (data["k"] == _K)]
    least = f"{study.POINTS:g} points"
    less, more = (rows.loc[match, "arm"] for match in (rows["low"] > -study.POINTS, rows["high"] < -study.POINTS))
    parts = [
        f"{study.listed(arms)} lose{'s' * (len(arms) == 1)} {words} {least}"
        for arms, words in ((less, "less than"), (more, "more than"))
        if len(arms)
    ]
    return f"Cut to {_K}×{_K}, " + ("; ".join(parts) or f"no mask is decided to lose {least} or not")


def _effective(runs: pd.DataFrame) -> pd.DataFrame:
    runs = runs[(runs["kind"] == "effective") & (runs["arm"] == "plain")]
    return study.tidy(run=runs[_KEPT], mean=over_seeds(runs, "change", ["arm", "layer"]))


def _effective_message(data: pd.DataFrame) -> str:
    """What plain attention loses where all its layers are swapped."""
    rows = data[(data["part"] == "mean") & (data["layer"] == "all")]
    (region,), row = side(rows, study.POINTS), rows.iloc[0]
    if region == "below":
        lost = pm(row, sign=False)
        return f"Attention is more than a convolution: as its effective kernels alone it loses {lost} points"
    if region == "open":
        return f"Undecided: does attention lose {study.POINTS:g} points as its effective kernels alone? ({pm(row)})"
    return f"Attention does as well as its effective kernels alone ({pm(row)} points)"


@study.register("truncated", 280, "cifar_small", _TABLES, _truncated, _truncated_message, foot=foot_of_arms)
def plot_truncated(data: pd.DataFrame) -> Figure:
    """How large a kernel masks need.

    Held-out accuracy, within each run, when every learnt mask is cut to k×k and not trained further: dots are seeds,
    marks their mean with its 95 % t interval, the vertical line is at 5×5, and the band holds changes below {points}
    points. An added decay hides
    what is cut, a multiplied mask sets its logits to 0; the element-wise mask is first projected onto kernels, so that
    even the whole kernel changes it.
    """
    means = data[data["part"] == "mean"]
    told = means[means["k"] == _K].set_index("arm").to_dict("index")
    figure, panels = by_arm(
        data,
        "k",
        "change",
        "side k (tokens)",
        "change of accuracy (points)",
        lambda arm: f"{pm(told[arm])} at {_K}×{_K}" if arm in told else "",
    )
    for ax in panels.values():
        band(ax, study.POINTS)
        ax.axvline(_K, color="0.8", linewidth=0.8, zorder=0)
        ax.set_xticks(sorted(means["k"].unique())[::2])
    return figure


@study.register("attention_is_more", 280, "cifar_small", _TABLES, _effective, _effective_message)
def plot_effective(data: pd.DataFrame) -> Figure:
    """What attention loses as a convolution.

    Held-out accuracy of plain attention, within each run, when the weights of one layer, or of all, are replaced by
    their effective kernel, which is the mean over images and over pairs of equal offset. Dots are seeds, bars their
    mean with its 95 % t interval.
    """
    layers = sorted(set(data["layer"].astype(str)) - {"all"}, key=int)
    places = {layer: float(i) for i, layer in enumerate(layers)} | {"all": len(layers) + 0.5}
    data = data.assign(place=data["layer"].astype(str).map(places))
    runs, means = (data[data["part"] == part] for part in ("run", "mean"))
    figure = new_figure(SINGLE, 2.2)
    ax = figure.subplots()
    ax.bar(means["place"], means["mean"], width=0.55, color=ORANGE, alpha=0.35)
    ax.plot(runs["place"] + spread(runs["seed"], 0.4), runs["change"], color="0.35", **SEED)
    ax.vlines(means["place"], means["low"], means["high"], color=ORANGE, linewidth=1.6)
    for row in means.to_dict("records"):
        ax.annotate(study.signed(row["mean"]), (row["place"], 0), (0, 3), textcoords="offset points", ha="center")
    ax.plot(means["place"], means["mean"], color=ORANGE, marker="D", linestyle="none", **MEAN)
    band(ax, study.POINTS)
    names = [*(f"layer {int(layer) + 1}" for layer in layers), "all layers"]
    ax.set(xticks=list(places.values()), xticklabels=names, ylabel="change of accuracy (points)")
    ax.tick_params(axis="x", length=0)
    return figure
