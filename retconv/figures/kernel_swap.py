"""Figures: what is lost when masks are cut to small kernels, or attention becomes its effective kernel."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import MEAN, SEED, band, draw_line, key_below, open_frame, over_seeds, pm, side, spread
from retconv.figures.style import ORANGE, SINGLE, new_figure

_TABLE = "study_cifar_small_kernel_swap"
_KEPT = ["arm", "seed", "run", "k", "layer", "change", "data", "commit"]
#: The side that the study's rules name.
_K = 5


def _read_truncated() -> pd.DataFrame:
    runs = study.read(_TABLE)
    runs = runs[runs["kind"] == "truncated"]
    return study.tidy(run=runs[_KEPT], mean=over_seeds(runs, "change", ["arm", "k"]))


def _plot_truncated(data: pd.DataFrame) -> Figure:
    """A line for each arm."""
    figure = new_figure(SINGLE, 2.6)
    ax = figure.subplots()
    means = data[data["part"] == "mean"]
    arms = [arm for arm in study.LABELS if arm in set(means["arm"])]
    for i, arm in enumerate(arms):
        own, shift = data[data["arm"] == arm], 0.22 * (i - (len(arms) - 1) / 2)
        draw_line(ax, own[own["part"] == "run"], own[own["part"] == "mean"], "k", "change", arm, shift)
    band(ax, study.POINTS)
    sides = sorted(means["k"].unique())
    ax.set_yscale("symlog", linthresh=1, linscale=0.7)
    low = min(1.5 * data["change"].min(), -2)
    ticks = [tick for tick in (0, -1, -10) if tick > low]
    ax.set(xticks=sides, yticks=ticks, yticklabels=[f"{tick}".replace("-", "−") for tick in ticks], ylim=(low, 1.5))
    ax.set(xlabel="masks cut to k×k: side k (tokens)", ylabel="change of accuracy (points)")
    key_below(ax)
    open_frame(ax)
    return figure


def _truncated_message(data: pd.DataFrame) -> str:
    """How many masks lose less than what matters at 5×5."""
    rows = data[(data["part"] == "mean") & (data["k"] == _K)]
    least = f"{study.POINTS:g} points"
    kept, lost = (rows.loc[found, "arm"] for found in (rows["low"] > -study.POINTS, rows["high"] < -study.POINTS))
    parts = [
        f"{study.listed(arms)} lose{'s' * (len(arms) == 1)} {words} {least}"
        for arms, words in ((kept, "less than"), (lost, "more than"))
        if len(arms)
    ]
    return f"Cut to {_K}×{_K}, " + ("; ".join(parts) or f"no mask is decided to lose {least} or not")


def _read_effective() -> pd.DataFrame:
    runs = study.read(_TABLE)
    runs = runs[(runs["kind"] == "effective") & (runs["arm"] == "plain")]
    return study.tidy(run=runs[_KEPT], mean=over_seeds(runs, "change", ["arm", "layer"]))


def _plot_effective(data: pd.DataFrame) -> Figure:
    """A place for each layer, and one apart for all at once."""
    layers = sorted(set(data["layer"].astype(str)) - {"all"}, key=int)
    places = {layer: float(i) for i, layer in enumerate(layers)} | {"all": len(layers) + 0.5}
    data = data.assign(place=data["layer"].astype(str).map(places))
    runs, means = (data[data["part"] == part] for part in ("run", "mean"))
    figure = new_figure(SINGLE, 2.2)
    ax = figure.subplots()
    ax.bar(means["place"], means["mean"], width=0.55, color=ORANGE, alpha=0.35)
    ax.plot(runs["place"] + spread(runs["seed"], 0.4), runs["change"], color="0.35", **SEED)
    ax.vlines(means["place"], means["low"], means["high"], color=ORANGE, linewidth=1.6)
    ax.plot(means["place"], means["mean"], color=ORANGE, marker="D", linestyle="none", **MEAN)
    band(ax, study.POINTS)
    names = [*(f"layer {int(layer) + 1}" for layer in layers), "all layers"]
    ax.set(xticks=list(places.values()), xticklabels=names, ylabel="change of accuracy (points)")
    ax.tick_params(axis="x", length=0)
    open_frame(ax)
    return figure


def _effective_message(data: pd.DataFrame) -> str:
    """What plain attention loses where all its layers are swapped."""
    rows = data[(data["part"] == "mean") & (data["layer"] == "all")]
    (found,), row = side(rows, study.POINTS), rows.iloc[0]
    if found == "below":
        return f"Attention is more than a convolution: without content it loses {pm(row, sign=False)} points"
    if found == "open":
        return f"Undecided: does attention lose {study.POINTS:g} points without content? ({pm(row)})"
    return f"Attention does as well without content ({pm(row)} points)"


TRUNCATED = study.figure(
    name="truncated",
    title="How large a kernel masks need",
    study="cifar_small",
    tables=(_TABLE,),
    read=_read_truncated,
    plot=_plot_truncated,
    message=_truncated_message,
    what=(
        "Held-out accuracy, within each run, when every learnt mask is cut to k×k and not trained further: dots are "
        "seeds, marks their mean with its 95 % t interval, and the band holds changes below "
        f"{study.POINTS:g} points. An added decay hides what is cut, a multiplied mask sets its logits to 0; the "
        "element-wise mask is first projected onto kernels, so that even the whole kernel changes it."
    ),
)

MORE = study.figure(
    name="attention_is_more",
    title="What attention loses as a convolution",
    study="cifar_small",
    tables=(_TABLE,),
    read=_read_effective,
    plot=_plot_effective,
    message=_effective_message,
    what=(
        "Held-out accuracy of plain attention, within each run, when the weights of one layer, or of all, are replaced "
        "by their effective kernel, which is the mean over images and over pairs of equal offset. Dots are seeds, bars "
        "their mean with its 95 % t interval."
    ),
)

FIGURES = (TRUNCATED, MORE)
