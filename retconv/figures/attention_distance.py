"""Figure: how far attention looks, layer by layer and head by head, from stored runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import (
    apart,
    beside,
    draw_line,
    gains,
    key_below,
    look,
    over_seeds,
    pm,
    side,
    spread,
)
from retconv.figures.style import SINGLE, new_figure

_ARMS = ("plain", "manhattan_bias", "gmm", "table")
_TABLES = ("study_cifar_small_distance", "study_cifar_small_effective")
_KEPT = ["arm", "seed", "run", "layer", "distance", "data", "commit"]


def uniform_distance(side: int = 8) -> float:
    """Mean distance of two tokens of a square grid, chosen independently: what attention has that looks everywhere."""
    places = np.indices((side, side)).reshape(2, -1)
    return float(np.linalg.norm(places[:, :, None] - places[:, None, :], axis=0).mean())


def _tabulate(runs: pd.DataFrame, heads: pd.DataFrame) -> pd.DataFrame:
    runs = runs[runs["arm"].isin(_ARMS)]
    overall = gains(runs[runs["layer"] == "all"], "distance")
    layers = runs[runs["layer"] != "all"].astype({"layer": int})
    means = over_seeds(layers, "distance", ["arm", "layer"])
    heads = heads[heads["arm"].isin(means["arm"])]
    return study.tidy(
        run=layers[_KEPT],
        head=heads[["arm", "seed", "run", "layer", "head", "mean_distance"]],
        mean=means,
        overall=over_seeds(overall, "distance", ["arm"]),
        gain=over_seeds(overall, "gain", ["arm"]),
    )


def _message(data: pd.DataFrame) -> str:
    """What the first mask does to the distance; of plain attention alone, how far it looks."""
    changes = data[data["part"] == "gain"]
    if changes.empty:
        row = data[data["part"] == "overall"].iloc[0]
        looks = f"{study.LABELS[row['arm']]} looks {pm(row, sign=False)} tokens far"
        return study.sentence(f"{looks}, uniform attention {uniform_distance():.1f}")
    row = changes.assign(place=changes["arm"].map(_ARMS.index)).sort_values("place").iloc[0]
    (region,), arm = side(row.to_frame().T, study.TOKENS), study.LABELS[row["arm"]]
    messages = {
        "below": f"{arm} draws attention {pm(row, 2, sign=False)} tokens nearer",
        "above": f"{arm} sends attention {pm(row, 2, sign=False)} tokens farther",
        "within": f"{arm} moves attention by {pm(row, 2)} tokens, less than {study.TOKENS:g}",
        "open": f"Undecided: does {arm} make attention local? ({pm(row, 2)} tokens)",
    }
    return study.sentence(messages[region])


@study.register("attention_distance", 260, "cifar_small", _TABLES, _tabulate, _message)
def plot(data: pd.DataFrame) -> Figure:
    """How far attention looks, with and without a mask.

    Mean distance between a query and what it attends to, by layer: small dots are single heads of single seeds, larger
    marks means over heads and seeds with 95 % t intervals. The mean over layers is compared with plain attention's,
    seed by seed; {tokens} tokens is the smallest difference that matters.
    """
    figure = new_figure(SINGLE, 2.6)
    ax = figure.subplots()
    for arm, own, shift in apart(data, 0.22):
        heads = own[own["part"] == "head"]
        place = heads["layer"] + shift + spread(heads["seed"], 0.12)
        ax.plot(place, heads["mean_distance"], ".", color=look(arm)[0], markersize=2.4, markeredgewidth=0, alpha=0.6)
        draw_line(ax, own[own["part"] == "mean"], "layer", "distance", arm, shift)
    uniform = uniform_distance()
    ax.axhline(uniform, color="0.35", linewidth=0.8, linestyle=":", zorder=0)
    beside(ax, uniform, "uniform", color="0.35")
    layers = sorted(data.loc[data["part"] == "mean", "layer"].unique())
    ax.set(ylim=(0, None), xticks=layers, xticklabels=[f"{layer + 1:.0f}" for layer in layers])
    ax.set(xlabel="layer", ylabel="mean attention distance (tokens)")
    key_below(ax)
    return figure
