"""Panels of arms compared seed by seed: every seed, the mean, and the paired interval of ``retconv.stats``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.figures.panels import letter
from retconv.figures.study import LABELS, LOOK, head, signed
from retconv.figures.style import BLUE, DOUBLE, new_figure
from retconv.stats import MIN_SEEDS, compare, summarise

SEED: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 2.8, "markeredgewidth": 0.0, "alpha": 0.5}
MEAN: dict[str, Any] = {"marker": "D", "markersize": 4.2, "markeredgecolor": "white", "markeredgewidth": 0.5}
#: How the captions name the intervals drawn here.
INTERVAL = "95 % t intervals of the paired differences (each by itself, not adjusted for their number)"


def pair(runs: pd.DataFrame, reference: str, metric: str = "test_accuracy") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs with their difference to the reference arm's run of the same seed, and every arm's mean difference.

    Args:
        runs: One row a run, with ``arm``, ``seed`` and the metric.
        reference: The arm that others are compared with.
        metric: What is compared.

    Returns:
        The runs, with ``difference`` added, and a row for each other arm: ``arm``, ``against``, ``n`` seeds that both
        have, ``mean``, ``difference``, and the paired interval ``low``, ``high``, empty below three seeds.
    """
    base = runs[runs["arm"] == reference].set_index("seed")[metric]
    runs = runs.assign(difference=runs[metric] - runs["seed"].map(base))
    rows = []
    for arm, group in runs[runs["arm"] != reference].groupby("arm", sort=False):
        both = group.dropna(subset="difference")
        row = {"arm": arm, "against": reference, "n": len(both), "mean": group[metric].mean()}
        row["difference"] = both["difference"].mean()
        if len(both) >= MIN_SEEDS:
            shared = runs[runs["arm"].isin([arm, reference]) & runs["seed"].isin(both["seed"])]
            row |= compare(shared, metric, reference).iloc[0][["low", "high"]].to_dict()
        rows.append(row)
    return runs, pd.DataFrame(rows, columns=["arm", "against", "n", "mean", "difference", "low", "high"])


def spread(seeds: pd.Series, width: float) -> pd.Series:
    """Where each seed's mark stands beside its arm, the same in every panel."""
    return width * (seeds - seeds.mean()) / max(seeds.max() - seeds.min(), 1)


def over_seeds(rows: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds with its t interval, for each combination of ``by``; those of fewer than three seeds are left out.

    Of a column that is itself a difference within each run, this is the paired interval.
    """
    rows = rows.dropna(subset=value)
    seeds = rows.groupby(list(by), dropna=False)["seed"].transform("count")
    enough = rows[seeds >= MIN_SEEDS]
    if enough.empty:
        return pd.DataFrame(columns=[*by, "n", "mean", "low", "high"])
    return summarise(enough, value, by).drop(columns="sd")


def draw_line(ax: Axes, runs: pd.DataFrame, means: pd.DataFrame, x: str, y: str, arm: str, shift: float = 0.0) -> None:
    """One arm along an axis: its seeds, their mean, and the interval of the mean.

    Args:
        ax: The panel.
        runs: Rows of the arm, with the columns x and y.
        means: Its rows of ``over_seeds``, with the column x.
        x: Column of the position.
        y: Column of the seeds' values.
        arm: Whose look and label it gets.
        shift: Added to the position, so that arms stand beside one another.
    """
    colour, marker, style = LOOK[arm]
    ax.plot(runs[x] + shift, runs[y], color=colour, **SEED)
    ax.vlines(means[x] + shift, means["low"], means["high"], color=colour, linewidth=1.4)
    look = MEAN | {"color": colour, "marker": marker, "linestyle": style, "linewidth": 0.9, "label": LABELS[arm]}
    ax.plot(means[x] + shift, means["mean"], **look)


def draw_arms(data: pd.DataFrame, groups: Sequence[Mapping[str, str]], reference: str) -> Figure:
    """Accuracy of every arm at the left, its difference to the reference at the right, with numbers and verdicts.

    Args:
        data: Rows of the parts ``run``, ``difference`` and ``rule``.
        groups: Labels by arm, from the top; groups stand apart.
        reference: The arm that others are compared with.
    """
    places, labels, y = {}, {}, 0.0
    for group in groups:
        shown = [arm for arm in group if arm in set(data["arm"])]
        for arm in shown:
            places[arm], labels[arm], y = y, group[arm], y + 1
        y += 0.5 * bool(shown)
    figure = new_figure(DOUBLE, 0.75 + 0.19 * y)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.25])
    runs = data[(data["part"] == "run") & data["arm"].isin(places)]
    for ax, column in ((left, "test_accuracy"), (right, "difference")):
        shown = runs[runs["arm"] != reference] if column == "difference" else runs
        height = shown["arm"].map(places) + spread(shown["seed"], 0.45)
        ax.plot(shown[column], height, color="0.35", **SEED)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="0.92", linewidth=0.5)
        ax.tick_params(axis="y", length=0)
        ax.set_axisbelow(True)
    means = runs.groupby("arm")["test_accuracy"].mean()
    left.plot(means, means.index.map(places), color="black", linestyle="none", **MEAN)
    left.axvline(means[reference], color="0.35", linewidth=0.6, linestyle="--", zorder=0)
    left.set(xlabel="test accuracy (%)", yticks=list(places.values()), yticklabels=[labels[arm] for arm in places])
    left.set_ylim(max(places.values()) + 0.6, -0.6)
    draw_differences(right, data[data["part"] == "difference"], places)
    draw_verdicts(right, data[data["part"] == "rule"], dict.fromkeys(places, reference), places)
    right.set_xlabel("difference to plain, same seed (points)")
    letter(left, "a")
    letter(right, "b")
    head(figure, data)
    return figure


def draw_differences(ax: Axes, rows: pd.DataFrame, places: Mapping[str, float], colour: str = BLUE) -> None:
    """Mean differences with their intervals, and the numbers at the right of the panel."""
    ax.axvline(0, color="0.35", linewidth=0.6, linestyle="--", zorder=0)
    _beside(ax, -0.9, 3, "mean (95 % interval)", color="0.35")
    for row in rows[rows["arm"].isin(places)].to_dict("records"):
        y = places[row["arm"]]
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        ax.plot(row["difference"], y, color=colour, **MEAN)
        ends = (
            f"({signed(row['low'], 2)} to {signed(row['high'], 2)})" if row["low"] == row["low"] else "(too few seeds)"
        )
        _beside(ax, y, 3, f"{signed(row['difference'], 2)} {ends}")


def draw_verdicts(ax: Axes, rows: pd.DataFrame, against: Mapping[str, str], places: Mapping[str, float]) -> None:
    """The verdicts of rules that compare an arm with its reference, beside its numbers."""
    found = rows[rows["arm"].map(against) == rows["against"]] if len(rows) else rows
    for arm, verdicts in found.groupby("arm")["verdict"] if len(found) else ():
        _beside(ax, places[arm], 100, ", ".join(verdicts.str.removesuffix(" at this n").unique()), style="italic")
    if len(found):
        _beside(ax, -0.9, 100, "rule", color="0.35")


def _beside(ax: Axes, y: float, points: float, text: str, **look: Any) -> None:
    """Text in a column at the right of a panel."""
    where = {"xycoords": ax.get_yaxis_transform(), "xytext": (points, 0), "textcoords": "offset points"}
    ax.annotate(text, (1, y), va="center", annotation_clip=False, **where, **look)


def extremes(data: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """How many arms differ from the reference, and which two are at the ends."""
    rows = data[data["part"] == "difference"].sort_values("difference")
    above, below = rows[rows["low"] > 0], rows[rows["high"] < 0]
    ends = " and ".join(f"{labels[r.arm]} {signed(r.difference)}" for r in (rows.iloc[-1], rows.iloc[0]))
    return (
        f"the intervals of {len(above)} of {len(rows)} arms lie above 0, of {len(below)} below, of "
        f"{len(rows) - len(above) - len(below)} on both sides; the ends are {ends} points"
    )
