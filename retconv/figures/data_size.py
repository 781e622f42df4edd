"""Figure: how much a mask is worth by how many images there are to train on, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from retconv.figures import study
from retconv.figures.paired import INTERVAL, MEAN, SEED, ends, pair
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import DOUBLE, new_figure

_KEPT = ["arm", "fraction", "seed", "run", "test_accuracy", "difference", "scale", "data", "commit"]
#: Arms stand beside one another, by this factor of the fraction.
_BESIDE = 1.09


def _read() -> pd.DataFrame:
    stored = study.read("data_size")
    runs, compared = [], []
    for fraction, rows in stored.groupby("fraction"):
        paired, differences = pair(rows, "plain")
        runs.append(paired[_KEPT])
        compared.append(differences.assign(fraction=fraction))
    rules = study.rules(stored, "data_size")
    return study.tidy(run=pd.concat(runs), difference=pd.concat(compared), rule=rules)


def _draw(ax: Axes, data: pd.DataFrame, column: str) -> None:
    """Seeds, means, and of differences the intervals, by share of the training images."""
    runs = data[data["part"] == "run"]
    arms = [arm for arm in study.LOOK if arm in set(runs["arm"]) and (column != "difference" or arm != "plain")]
    for i, arm in enumerate(arms):
        rows, (colour, marker, style) = runs[runs["arm"] == arm], study.LOOK[arm]
        place = 100 * _BESIDE ** (i - (len(arms) - 1) / 2)
        ax.plot(place * rows["fraction"], rows[column], color=colour, **SEED)
        means = rows.groupby("fraction")[column].mean()
        look = MEAN | {"color": colour, "marker": marker, "linestyle": style, "linewidth": 0.9}
        ax.plot(place * means.index, means, label=study.LABELS[arm], **look)
        if column == "difference":
            rows = data[(data["part"] == "difference") & (data["arm"] == arm)]
            ax.vlines(place * rows["fraction"], rows["low"], rows["high"], color=colour, linewidth=1.6)
    shares = sorted(runs["fraction"].unique())
    ax.set(xscale="log", xlabel="share of the training images (%)")
    ax.set_xticks([100 * f for f in shares], [f"{100 * f:g}" for f in shares])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.spines[["top", "right"]].set_visible(False)


def draw() -> tuple[Figure, pd.DataFrame]:
    """Accuracy, and its difference to plain attention."""
    data = _read()
    figure = new_figure(DOUBLE, 2.5)
    axes = figure.subplots(1, 2)
    _draw(axes[0], data, "test_accuracy")
    _draw(axes[1], data, "difference")
    axes[1].axhline(0, color="0.35", linewidth=0.8, linestyle="--", zorder=0)
    axes[0].set_ylabel("test accuracy (%)")
    axes[1].set_ylabel("difference to plain, same seed (points)")
    axes[0].legend(loc="lower right")
    for ax, text in zip(axes, "ab", strict=True):
        letter(ax, text)
    study.head(figure, data)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """The difference to plain attention at the least and the most images."""
    rows = data[data["part"] == "difference"].sort_values("fraction")
    parts = []
    for arm, own in rows.groupby("arm", sort=False):
        found = [
            f"{study.signed(row['difference'], 2)} ({ends(row)}) at {100 * row['fraction']:g} %"
            for row in (own.iloc[0], own.iloc[-1])
        ]
        parts.append(f"{study.LABELS[str(arm)]} {', '.join(found)}")
    return f"points over plain: {'; '.join(parts)} of the images"


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "What an inductive bias is worth: plain attention and two masks trained on a share of the images, with the "
        "same number of steps at every share. (a) Test accuracy, (b) the difference to the plain run of the same seed "
        f"and share, with {INTERVAL}. Dots: seeds; larger marks: their mean."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="data_size",
    title="Masks and the number of images",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("data_size", "verdicts"),
)
