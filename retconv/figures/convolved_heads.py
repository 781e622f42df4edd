"""Figure: accuracy as more and more heads of trained models become convolutions, from a stored table."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.panels import headline, in_pairs
from retconv.figures.registry import Drawn, register
from retconv.figures.study import LABELS, LOOK, signed
from retconv.stats import interval
from retconv.stored import TABLES, read_runs

#: Written by ``retconv measure``.
_DATA = TABLES / "convolved_heads.csv"
_COLUMNS = ["arm", "seed", "run", "order", "heads", "of", "accuracy", "change", "error", "logits", "measured", "tested"]
_ORIGIN = ["data", "commit", "torch", "device"]
#: Line and name of each order, the one in front last.
_ORDERS: dict[str, tuple[Literal["-", "--"], str]] = {"random": ("--", "at random"), "error": ("-", "by error")}
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
    ends = ", ".join(f"{LABELS.get(arm, arm)} {signed(change)}" for arm, change in whole.items())
    return (
        f"{_message(data)}; the order by error is better by {(low + high) / 2:.1f} ± {(high - low) / 2:.1f} points "
        f"(95 % interval over {len(few)} runs); with all heads convolved: {ends}"
    )


def _plot(data: pd.DataFrame) -> Figure:
    arms, of = [arm for arm in LOOK if arm in set(data["arm"])], data["of"].iloc[0]
    xlabel = f"heads convolved (of {of})"
    figure, panels = in_pairs([LABELS[arm] for arm in arms], xlabel, "change of accuracy (points)")
    for arm, ax in zip(arms, panels, strict=True):
        ax.title.set_color(LOOK[arm][0])
        for order, (style, _) in _ORDERS.items():
            own = data[(data["arm"] == arm) & (data["order"] == order)]
            colour = LOOK[arm][0] if order == "error" else "0.35"
            for _, rows in own.groupby("seed"):
                ax.plot(rows["heads"], rows["change"], color=colour, linestyle=style, linewidth=0.5, alpha=0.35)
            mean = own.groupby("heads")["change"].mean()
            ax.plot(mean.index, mean, color=colour, linestyle=style, linewidth=1.4)
        ax.axhline(0, color="0.35", linewidth=0.6, zorder=0)
        ax.set_xticks(range(0, of + 1, of // _SHARE))
    panels[0].text(0.03, 0.08, _ORDERS["random"][1], color="0.35", transform=panels[0].transAxes)
    panels[0].text(0.55, 0.82, _ORDERS["error"][1], color=LOOK[arms[0]][0], transform=panels[0].transAxes)
    return figure


@register("convolved_heads", 285, finding, data=(_DATA,), group="study")
def draw() -> Drawn:
    """Heads that become convolutions.

    Accuracy on 1,000 test images of small trained vision transformers of four layers of four heads, against that of
    the same run, as more and more heads are replaced by depthwise convolutions with their effective kernels, without
    any training: in the order of the error of their output, ‖A V − M V‖ / ‖A V‖ on 512 images that the run held out,
    smallest first (solid), and at random (dashed). Thin lines are runs, thick ones their means by the mask that the
    model was trained with, which heads that still attend keep. Stored results of `retconv measure`.
    """
    data = read_runs(_DATA)[[*_COLUMNS, *_ORIGIN]]
    figure = _plot(data)
    seeds = data.groupby("arm")["seed"].nunique()
    tested, runs = data["tested"].iloc[0], data["run"].nunique()
    scale = f"{tested:,} test images, {runs} runs, {seeds.min()} to {seeds.max()} seeds a mask"
    headline(figure, _message(data), f"CIFAR-10 (JPEG), {scale}")
    return figure, data
