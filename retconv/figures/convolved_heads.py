"""Figure: accuracy as more and more heads of trained models become convolutions, from a stored table."""

from __future__ import annotations

import textwrap
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from retconv.figures.panels import open_frame
from retconv.figures.registry import Drawn, register
from retconv.figures.study import LABELS, LOOK, signed
from retconv.figures.style import SINGLE, new_figure
from retconv.stats import interval
from retconv.stored import TABLES

#: Written by ``python -m retconv.measure``.
_DATA = TABLES / "convolved_heads.csv"
_COLUMNS = ["arm", "seed", "run", "order", "heads", "of", "accuracy", "change", "error", "logits", "measured", "tested"]
_ORIGIN = ["data", "commit", "torch", "device"]
#: Line and name of each order, the one in front last.
_ORDERS: dict[str, tuple[Literal["-", "--"], str]] = {"random": ("--", "at random"), "error": ("-", "by error")}
_FOOT: dict[str, Any] = {"x": 0.01, "ha": "left", "fontsize": 5.5, "color": "0.35"}
#: Of all heads, the share that the message tells of.
_SHARE = 4


def _few(data: pd.DataFrame) -> pd.DataFrame:
    """Runs in rows: their change by both orders where a quarter of the heads are convolved."""
    rows = data[data["heads"] == data["of"] // _SHARE]
    return rows.pivot_table(index=["arm", "seed"], columns="order", values="change")


def _message(data: pd.DataFrame) -> str:
    few = _few(data)
    heads, of = data["of"].iloc[0] // _SHARE, data["of"].iloc[0]
    by_error, at_random = few["error"].mean(), few["random"].mean()
    return f"{heads} of {of} heads as convolutions: {signed(by_error)} points by error, {signed(at_random)} at random"


def finding(data: pd.DataFrame) -> str:
    """Mean changes of a quarter of the heads and of all, and the interval of the difference of both orders."""
    few = _few(data)
    low, high = interval(few["error"] - few["random"])
    whole = data[data["heads"] == data["of"]].groupby("arm")["change"].mean()
    ends = ", ".join(f"{LABELS[arm]} {signed(change)}" for arm, change in whole.items())
    return (
        f"{_message(data)}; the order by error is better by {(low + high) / 2:.1f} ± {(high - low) / 2:.1f} points "
        f"(95 % interval over {len(few)} runs); with all heads convolved: {ends}"
    )


def _plot(data: pd.DataFrame) -> Figure:
    figure = new_figure(SINGLE, 2.7)
    ax = figure.subplots()
    arms = [arm for arm in LOOK if arm in set(data["arm"])]
    for order, (style, _) in _ORDERS.items():
        for arm in arms:
            own, (colour, marker) = data[(data["arm"] == arm) & (data["order"] == order)], LOOK[arm]
            for _, rows in own.groupby("seed"):
                ax.plot(rows["heads"], rows["change"], color=colour, linestyle=style, linewidth=0.4, alpha=0.35)
            mean = own.groupby("heads")["change"].mean()
            mark = marker if order == "error" else ""
            ax.plot(mean.index, mean, color=colour, linestyle=style, marker=mark, markersize=3)
    ax.axhline(0, color="0.35", linewidth=0.6, zorder=0)
    ax.set(xlabel=f"heads that are convolutions (of {data['of'].iloc[0]})", ylabel="change of accuracy (points)")
    keys = [Line2D([], [], color=LOOK[arm][0], marker=LOOK[arm][1], markersize=3, label=LABELS[arm]) for arm in arms]
    keys += [Line2D([], [], color="0.35", linestyle=style, label=name) for style, name in _ORDERS.values()]
    ax.legend(handles=keys, loc="lower left", handlelength=2.4)
    open_frame(ax)
    return figure


@register("convolved_heads", 285, finding, data=(_DATA,), group="study")
def draw() -> Drawn:
    """Heads that become convolutions.

    Accuracy on 1,000 test images of small trained vision transformers of four layers of four heads, against that of
    the same run, as more and more heads are replaced by depthwise convolutions with their effective kernels, without
    any training: in the order of the error of their output, ‖A V − M V‖ / ‖A V‖ on 512 images that the run held out,
    smallest first (solid, marked), and at random (dashed). Thin lines are runs, thick ones their means by the mask that
    the model was trained with, which heads that still attend keep. Stored results of `python -m retconv.measure`.
    """
    data = pd.read_csv(_DATA, dtype={"run": str})[[*_COLUMNS, *_ORIGIN]]
    figure = _plot(data)
    figure.suptitle(textwrap.fill(_message(data), 46), x=0.01, ha="left", fontweight="bold")
    seeds = data.groupby("arm")["seed"].nunique()
    tested, runs = data["tested"].iloc[0], data["run"].nunique()
    scale = f"{tested:,} test images, {runs} runs, {seeds.min()} to {seeds.max()} seeds a mask"
    figure.supxlabel(f"CIFAR-10 (JPEG), {scale}", **_FOOT)
    return figure, data
