"""Panels of arms compared seed by seed: every seed, the mean, and the paired interval of ``retconv.stats``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from retconv.figures.panels import letter
from retconv.figures.study import LABELS, LOOK, condition, head, signed
from retconv.figures.style import BLUE, DOUBLE, ORANGE, new_figure
from retconv.stats import MIN_SEEDS, compare, holm, summarise

SEED: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 2.8, "markeredgewidth": 0.0, "alpha": 0.5}
MEAN: dict[str, Any] = {"marker": "D", "markersize": 4.2, "markeredgecolor": "white", "markeredgewidth": 0.5}
#: How the captions name the intervals drawn here.
INTERVAL = "95 % t intervals of the paired differences (each by itself, not adjusted for their number)"

#: How the captions explain the panel of rules.
RULES = (
    "(c) The rules that were written before the runs: value, interval, adjusted for the number of rules, and threshold."
)


def pair(runs: pd.DataFrame, reference: str, metric: str = "test_accuracy") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs with their difference to the reference arm's run of the same seed, and every arm's mean difference.

    Args:
        runs: One row a run, with ``arm``, ``seed`` and the metric.
        reference: The arm that others are compared with.
        metric: What is compared.

    Returns:
        The runs, with ``difference`` added, and a row for each other arm: ``arm``, ``against``, ``n`` seeds that both
        have, ``mean``, ``difference``, the paired interval ``low``, ``high``, the exact ``p`` by sign flips and
        ``p_holm``, adjusted for the number of arms; these are empty below three seeds.
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
            row |= compare(shared, metric, reference).iloc[0][["low", "high", "p"]].to_dict()
        rows.append(row)
    table = pd.DataFrame(rows, columns=["arm", "against", "n", "mean", "difference", "low", "high", "p"])
    table.loc[table["p"].notna(), "p_holm"] = holm(table["p"].dropna())
    return runs, table


def spread(seeds: pd.Series, width: float) -> pd.Series:
    """Where each seed's mark stands beside its arm, the same in every panel."""
    return width * (seeds - seeds.mean()) / max(seeds.max() - seeds.min(), 1)


def over_seeds(rows: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds with its t interval, for each combination of ``by``; fewer than three seeds have none.

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
    """Accuracy of every arm at the left, its difference to the reference at the right, the rules below.

    Args:
        data: Rows of the parts ``run``, ``difference`` and ``rule``.
        groups: Labels by arm, from the top; groups stand apart.
        reference: The arm that others are compared with.
    """
    places, y = {}, 0.0
    for group in groups:
        shown = [arm for arm in group if arm in set(data["arm"])]
        for arm in shown:
            places[arm], y = y, y + 1
        y += 0.5 * bool(shown)
    figure, above = with_rules(data, 0.75 + 0.19 * y)
    left, right = above.subplots(1, 2, sharey=True, width_ratios=[1, 1.1])
    runs = data[(data["part"] == "run") & data["arm"].isin(places)]
    for ax, column in ((left, "test_accuracy"), (right, "difference")):
        shown = runs[runs["arm"] != reference] if column == "difference" else runs
        height = shown["arm"].map(places) + spread(shown["seed"], 0.45)
        ax.plot(shown[column], height, color="0.35", **SEED)
    means = runs.groupby("arm")["test_accuracy"].mean()
    left.plot(means, means.index.map(places), color="black", linestyle="none", **MEAN)
    left.axvline(means[reference], color="0.35", linewidth=0.6, linestyle="--", zorder=0)
    left.set(xlabel="test accuracy (%)")
    names = {arm: label for group in groups for arm, label in group.items()}
    draw_differences(right, data[data["part"] == "difference"], places)
    right.set_xlabel("difference to plain, same seed (points)")
    for ax, text in ((left, "a"), (right, "b")):
        in_rows(ax, {names[arm]: place for arm, place in places.items()})
        letter(ax, text)
    return figure


def in_rows(ax: Axes, places: Mapping[str, float]) -> None:
    """Name the rows of a panel, by label, and rule them lightly."""
    ax.set(yticks=list(places.values()), yticklabels=list(places))
    ax.set_ylim(max(places.values()) + 0.6, -0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92", linewidth=0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_axisbelow(True)


def with_rules(data: pd.DataFrame, height: float) -> tuple[Figure, SubFigure]:
    """A figure whose lower part shows the rules: each one's value, interval, threshold and verdict.

    Args:
        data: Rows of the part ``rule``, among others; if there are none, the figure has no lower part.
        height: Of the upper part, in inches.

    Returns:
        The figure, and its upper part.
    """
    rules = data[data["part"] == "rule"].to_dict("records")
    below = (0.6 + 0.17 * len(rules)) * bool(rules)
    figure = new_figure(DOUBLE, height + below)
    head(figure, data)
    if not rules:
        return figure, figure.subfigures(1, 1, squeeze=False)[0, 0]
    parts: np.ndarray = figure.subfigures(2, 1, height_ratios=[height, below], squeeze=False)
    above, lower = parts[:, 0]
    ax = lower.subplots()
    for y, rule in enumerate(rules):
        ends = (-rule["threshold"], rule["threshold"]) if rule["expect"] == "within" else (rule["threshold"],)
        ax.plot(ends, [y] * len(ends), color="black", linestyle="none", marker="|", markersize=7, markeredgewidth=1.2)
        if rule["verdict"] != "not run":
            ax.plot([rule["low"], rule["high"]], [y, y], color=ORANGE, linewidth=1.6, solid_capstyle="butt")
            ax.plot(rule["difference"], y, color=ORANGE, **MEAN)
        _beside(ax, y, 3, rule["verdict"], style="italic")
    shares = sorted({f"{100 * rule['confidence']:.4g} %" for rule in rules})
    in_rows(ax, {condition(rule): y for y, rule in enumerate(rules)})
    ax.margins(x=0.08)
    ax.set_xlabel(f"points, with {' or '.join(shares)} interval; ticks: the thresholds")
    letter(ax, "c")
    return figure, above


def draw_differences(ax: Axes, rows: pd.DataFrame, places: Mapping[str, float]) -> None:
    """Mean differences with their intervals, and the numbers at the right of the panel."""
    ax.axvline(0, color="0.35", linewidth=0.6, linestyle="--", zorder=0)
    _beside(ax, -0.9, 3, "mean (95 % interval)", color="0.35")
    for row in rows[rows["arm"].isin(places)].to_dict("records"):
        y = places[row["arm"]]
        ax.plot([row["low"], row["high"]], [y, y], color=BLUE, linewidth=1.6, solid_capstyle="butt")
        ax.plot(row["difference"], y, color=BLUE, **MEAN)
        _beside(ax, y, 3, f"{signed(row['difference'], 2)} ({ends(row)})")


def ends(row: Any) -> str:
    """``−0.10 to +0.90``: the interval of a row, if it has one."""
    low, high = row["low"], row["high"]
    return f"{signed(low, 2)} to {signed(high, 2)}" if low == low else "too few seeds"


def _beside(ax: Axes, y: float, points: float, text: str, **look: Any) -> None:
    """Text in a column at the right of a panel."""
    where: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
    ax.annotate(text, (1, y), (points, 0), va="center", annotation_clip=False, **where, **look)


def extremes(data: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """How many arms differ from the reference, and which two are at the ends."""
    rows = data[data["part"] == "difference"].sort_values("difference")
    above, below = rows[rows["low"] > 0], rows[rows["high"] < 0]
    ends = " and ".join(f"{labels[r.arm]} {signed(r.difference)}" for r in (rows.iloc[-1], rows.iloc[0]))
    return (
        f"the intervals of {len(above)} of {len(rows)} arms lie above 0, of {len(below)} below, of "
        f"{len(rows) - len(above) - len(below)} on both sides (adjusted by Holm for all arms, the least exact p is "
        f"{rows['p_holm'].min():.2g}); the ends are {ends} points"
    )
