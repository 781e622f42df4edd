"""Figure: how far attention looks, layer by layer and head by head, from stored runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import (
    SEED,
    by_arm,
    gains,
    look,
    over_seeds,
    pm,
    side,
    spread,
)

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
    moves = f"{'draws' if row['mean'] < 0 else 'sends'} attention {pm(row, 2, sign=False)} tokens"
    told = f"{arm} {moves} {'nearer' if row['mean'] < 0 else 'farther'}"
    messages = {
        "below": told,
        "above": told,
        "within": f"{arm} moves attention by {pm(row, 2)} tokens, less than {study.TOKENS:g}",
        "open": f"{told}; undecided whether by {study.TOKENS:g}",
    }
    return study.sentence(messages[region])


@study.register("attention_distance", 260, "cifar_small", _TABLES, _tabulate, _message)
def plot(data: pd.DataFrame) -> Figure:
    """How far attention looks, with and without a mask.

    Mean distance between a query and what it attends to, by layer: small dots are single heads of single seeds, larger
    marks means over heads and seeds with 95 % t intervals, dashed the mean of plain attention, dotted what looks
    everywhere alike. The mean over layers is compared with plain attention's, seed by seed; {tokens} tokens is the
    smallest difference that matters.
    """
    overall = data[data["part"] == "overall"].set_index("arm").to_dict("index")
    rows = data[data["part"] == "mean"]
    figure, panels = by_arm(
        rows,
        "layer",
        "distance",
        "layer",
        "mean attention distance (tokens)",
        lambda arm: f"{pm(overall[arm], 2, sign=False)} tokens" if arm in overall else "",
    )
    layers = sorted(rows["layer"].unique())
    for arm, ax in panels.items():
        heads = data[(data["part"] == "head") & (data["arm"] == arm)]
        place = heads["layer"] + spread(heads["seed"], 0.3)
        ax.plot(place, heads["mean_distance"], color=look(arm)[0], **SEED | {"markersize": 1.8})
        ax.axhline(uniform_distance(), color="0.35", linewidth=0.8, linestyle=":", zorder=0)
        ax.set(xticks=layers, xticklabels=[f"{layer + 1:.0f}" for layer in layers])
    first = next(iter(panels.values()))
    first.set_ylim(0, max(first.get_ylim()[1], 1.3 * uniform_distance()))
    first.annotate("uniform", (layers[0], uniform_distance()), (-4, 5), textcoords="offset points", color="0.35")
    return figure
