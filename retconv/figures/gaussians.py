"""Figure: how many Gaussians a mask needs, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import INTERVAL, MEAN, SEED, ends, pair, spread
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import BLUE, DOUBLE, new_figure

_KEPT = ["arm", "components", "seed", "run", "test_accuracy", "difference", "scale", "data", "commit"]


def _read() -> pd.DataFrame:
    stored = study.read("main")
    mixtures = stored[stored["components"].notna() | (stored["arm"] == "plain")]
    runs, differences = pair(mixtures, "plain")
    counts = runs.groupby("arm")["components"].first()
    rules = study.rules(runs, "main", "gaussians")
    own = rules["arm"].isin(runs["arm"]) & (rules["against"].isin(runs["arm"]) | rules["against"].isna())
    gaussians = study.read("gaussians")
    keys = [gaussians[key] for key in ("arm", "components", "seed", "run")]
    negative = (100 * (gaussians["alpha"] < 0)).groupby(keys).mean().rename("negative").reset_index()
    compared = differences.assign(components=differences["arm"].map(counts))
    return study.tidy(run=runs[_KEPT], difference=compared, gaussians=negative, rule=rules[own])


def _draw_seeds(ax: Axes, rows: pd.DataFrame, column: str, order: dict[float, int]) -> None:
    """Every seed of each number of Gaussians, and their mean."""
    place = rows["components"].map(order)
    ax.plot(place + spread(rows["seed"], 0.4), rows[column], color="0.35", **SEED)
    means = rows.groupby("components")[column].mean()
    ax.plot(means.index.map(order), means, color=BLUE, linestyle="-", linewidth=0.8, **MEAN)
    ax.set(xticks=list(order.values()), xticklabels=[f"{k:.0f}" for k in order], xlabel="Gaussians per head, K")
    ax.set_xlim(-0.5, len(order) - 0.5)


def draw() -> tuple[Figure, pd.DataFrame]:
    """Accuracy, its difference to plain attention, and the sign of the weights, by number of Gaussians."""
    data = _read()
    runs, compared = (data[data["part"] == part] for part in ("run", "difference"))
    plain, mixtures = runs[runs["arm"] == "plain"], runs[runs["arm"] != "plain"]
    order = {k: i for i, k in enumerate(sorted(mixtures["components"].unique()))}
    figure = new_figure(DOUBLE, 2.2)
    axes = figure.subplots(1, 3)
    _draw_seeds(axes[0], mixtures, "test_accuracy", order)
    axes[0].axhline(plain["test_accuracy"].mean(), color="0.35", linewidth=0.8, linestyle="--", zorder=0)
    axes[0].set_ylabel("test accuracy (%)")
    _draw_seeds(axes[1], mixtures, "difference", order)
    axes[1].vlines(compared["components"].map(order), compared["low"], compared["high"], color=BLUE, linewidth=1.6)
    axes[1].axhline(0, color="0.35", linewidth=0.8, linestyle="--", zorder=0)
    axes[1].set_ylabel("difference to plain (points)")
    _draw_seeds(axes[2], data[data["part"] == "gaussians"], "negative", order)
    axes[2].axhline(50, color="0.35", linewidth=0.8, linestyle=":", zorder=0)
    axes[2].set(ylabel="Gaussians with α < 0 (%)", ylim=(0, 100))
    for ax, text in zip(axes, "abc", strict=True):
        ax.spines[["top", "right"]].set_visible(False)
        letter(ax, text)
    study.head(figure, data)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """The difference to plain attention by number of Gaussians."""
    rows = data[data["part"] == "difference"].sort_values("components")
    gains = ", ".join(
        f"{study.signed(row['difference'], 2)} ({ends(row)}) for K = {row['components']:.0f}"
        for row in rows.to_dict("records")
    )
    share = data.loc[data["part"] == "gaussians", "negative"]
    return f"points over plain: {gains}; {share.mean():.0f} % of the trained Gaussians are negative"


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "The Gaussian mixture mask by its number of Gaussians: (a) test accuracy, (b) the difference to the plain run "
        f"of the same seed, with {INTERVAL}, (c) the share of Gaussians whose weight α ends negative; they start half "
        "and half (dotted). Dots: seeds; diamonds: their mean; dashed: plain."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="gaussians",
    title="How many Gaussians?",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("main", "gaussians", "verdicts"),
)
