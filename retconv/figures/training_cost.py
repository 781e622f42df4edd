"""Figure: what masks cost in training, and what they bring, from stored runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from retconv.figures import study
from retconv.figures.paired import MEAN, over_seeds, pair
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import DOUBLE, new_figure

_ARMS = ("plain", "elm", "table", "gmm_1", "gmm_5", "gmm_8", "manhattan_learnt", "two_sided")
_MIXTURES = {"gmm_1": "o", "gmm_8": "X"}  # beside the usual mark of five Gaussians
_KEPT = ["arm", "seed", "run", "throughput", "mask_parameters", "macs", "test_accuracy", "difference", "scale", "data"]
_ORIGIN = ["commit", "torch", "device", "threads", "replicas"]


def _read() -> pd.DataFrame:
    stored = study.read("main")
    runs, _ = pair(stored[stored["arm"].isin(_ARMS)], "plain")
    runs["throughput"] = runs["images_per_second"] * runs["replicas"]
    cost = runs.groupby("arm", sort=False)[["throughput", "mask_parameters", "macs"]].max().reset_index()
    plain = cost[cost["arm"] == "plain"].iloc[0]
    cost["time"] = plain["throughput"] / cost["throughput"]
    gains = over_seeds(runs[runs["arm"] != "plain"], "difference", ["arm"]).rename(columns={"mean": "gain"})
    costs = cost.merge(gains, how="left", on="arm")
    return study.tidy(run=runs[_KEPT + _ORIGIN], arm=costs)


def _look(arm: str) -> dict[str, Any]:
    colour, marker, _ = study.LOOK.get(arm, study.LOOK["gmm"])
    return MEAN | {"color": colour, "marker": _MIXTURES.get(arm, marker), "markersize": 4.6}


def _draw_points(ax: Axes, arms: pd.DataFrame, column: str, form: str) -> None:
    """A mark and its number for each arm; of 0, which a logarithmic axis has no place for, the number alone."""
    for place, (arm, value) in enumerate(zip(arms["arm"], arms[column], strict=True)):
        if value > 0:
            ax.plot(value, place, **_look(arm))
            ax.annotate(format(value, form), (value, place), (5, 0), textcoords="offset points", va="center")
        else:
            ax.annotate("none", (0, place), (5, 0), ax.get_yaxis_transform(), "offset points", va="center")
    ax.grid(axis="y", color="0.92", linewidth=0.5)
    ax.tick_params(axis="y", length=0)


def _draw_gain(ax: Axes, arms: pd.DataFrame) -> None:
    for row in arms.dropna(subset="gain").to_dict("records"):
        look = _look(row["arm"])
        ax.vlines(row["time"], row["low"], row["high"], color=look["color"], linewidth=1.4)
        ax.plot(row["time"], row["gain"], **look)
    ax.axhline(0, color="0.35", linewidth=0.6, linestyle="--", zorder=0)
    ax.margins(x=0.15, y=0.1)
    ax.set(xlabel="training time / plain", ylabel="difference to plain (points)")


def draw() -> tuple[Figure, pd.DataFrame]:
    """Time, numbers to learn, and accuracy against time."""
    data = _read()
    arms = data[data["part"] == "arm"]
    figure = new_figure(DOUBLE, 2.5)
    grid = figure.add_gridspec(1, 3, width_ratios=[1, 1, 1.25])
    time = figure.add_subplot(grid[0])
    size, gain = figure.add_subplot(grid[1], sharey=time), figure.add_subplot(grid[2])
    _draw_points(time, arms, "time", ".2f")
    time.axvline(1, color="0.35", linewidth=0.6, linestyle="--", zorder=0)
    low, high = arms["time"].min(), arms["time"].max()
    time.set(xlabel="training time / plain", xlim=(low - 0.1 * (high - low) - 0.02, high + 0.4 * (high - low) + 0.05))
    time.set_yticks(range(len(arms)), [study.LABELS[arm] for arm in arms["arm"]])
    time.set_ylim(len(arms) - 0.5, -0.5)
    size.set_xscale("log")
    _draw_points(size, arms, "mask_parameters", ",.0f")
    least = arms.loc[arms["mask_parameters"] > 0, "mask_parameters"].min()
    size.set(xlabel="numbers in all masks", xlim=(least / 4, 15 * arms["mask_parameters"].max()))
    size.xaxis.set_minor_formatter(NullFormatter())
    size.tick_params(axis="y", labelleft=False)
    _draw_gain(gain, arms)
    for ax, text in ((time, "a"), (size, "b"), (gain, "c")):
        ax.spines[["top", "right"]].set_visible(False)
        letter(ax, text)
    study.head(figure, data)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """The dearest mask in time, and the range of all."""
    arms = data[(data["part"] == "arm") & (data["arm"] != "plain")].sort_values("time")
    low, high = arms.iloc[0], arms.iloc[-1]
    return (
        f"training with a mask takes {low['time']:.2f} ({study.LABELS[low['arm']]}) to {high['time']:.2f} "
        f"({study.LABELS[high['arm']]}) times as long as without, in one measurement each"
    )


def _machine(runs: pd.DataFrame) -> str:
    """Every device, number of threads and version that the stored runs name."""
    places = []
    for device, threads, version in runs[["device", "threads", "torch"]].drop_duplicates().itertuples(index=False):
        count = "one thread" if threads == 1 else f"{threads:.0f} threads"
        places.append(f"{device} ({count}, torch {version})")
    return " and ".join(places)


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "What masks cost: (a) training time of an image relative to plain attention, from the fastest epoch, all "
        f"seeds of an arm trained as one stack on {_machine(data[data['part'] == 'run'])}, hence one measurement an "
        "arm; (b) the numbers in the masks of all layers; (c) the difference of test accuracy to plain, same seed, "
        "mean and 95 % t interval of the paired differences, against the time, with the marks of (a)."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="training_cost",
    title="What a mask costs in training",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("main"),
)
