"""Figure: models evaluated at image sizes that they were not trained at, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import draw_line, over_seeds
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import DOUBLE, new_figure

_ARMS = ("plain", "elm", "table", "gmm_5", "manhattan_learnt", "two_sided")
_KEPT = ["arm", "seed", "run", "size", "tokens", "test_accuracy", "change", "scale", "data", "commit"]


def _read() -> pd.DataFrame:
    stored = study.read("grid_transfer")
    runs = stored[stored["arm"].isin(_ARMS)]
    accuracy = over_seeds(runs, "test_accuracy", ["arm", "size"])
    trained = runs["size"].min()
    change = over_seeds(runs[runs["size"] > trained], "change", ["arm", "size"])
    rules = study.rules(runs, "grid_transfer")
    return study.tidy(run=runs[_KEPT], accuracy=accuracy, change=change, rule=rules)


def draw() -> tuple[Figure, pd.DataFrame]:
    """Accuracy by image size, and how much of it is lost."""
    data = _read()
    sizes = sorted(data["size"].dropna().unique())
    data["place"] = data["size"].map({size: i for i, size in enumerate(sizes)})
    figure = new_figure(DOUBLE, 2.5)
    axes = figure.subplots(1, 2)
    for ax, part, value in ((axes[0], "accuracy", "test_accuracy"), (axes[1], "change", "change")):
        for i, arm in enumerate(_ARMS):
            rows = data[data["arm"] == arm]
            runs = rows[(rows["part"] == "run") & (rows["place"] >= (part == "change"))].dropna(subset=value)
            draw_line(ax, runs, rows[rows["part"] == part], "place", value, arm, 0.09 * (i - (len(_ARMS) - 1) / 2))
        ax.set(xlabel="image size (pixels); trained at the first", xlim=(-0.5, len(sizes) - 0.5))
        ax.set_xticks(range(len(sizes)), [f"{size:.0f}" for size in sizes])
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("test accuracy (%)")
    axes[1].set_ylabel("change from the trained size (points)")
    axes[1].axhline(0, color="0.35", linewidth=0.8, linestyle="--", zorder=0)
    axes[1].text(
        0, 0.5, "trained\nhere", transform=axes[1].get_xaxis_transform(), ha="center", va="center", color="0.35"
    )
    handles, labels = axes[0].get_legend_handles_labels()
    stuck = {study.LABELS[arm] for arm in _ARMS if arm not in set(data.loc[data["part"] == "change", "arm"])}
    labels = [f"{label}:\ncannot move" if label in stuck else label for label in labels]
    figure.legend(handles, labels, loc="outside right center")
    for ax, text in zip(axes, "ab", strict=True):
        letter(ax, text)
    study.head(figure, data)
    return figure, data.drop(columns="place")


def finding(data: pd.DataFrame) -> str:
    """The change at the largest size, arm by arm."""
    rows = data[data["part"] == "change"]
    last = rows[rows["size"] == rows["size"].max()].sort_values("mean", ascending=False)
    parts = ", ".join(
        f"{study.LABELS[r.arm]} {study.signed(r.mean)} ({study.signed(r.low)} to {study.signed(r.high)})"
        for r in last.itertuples()
    )
    return f"points at {last['size'].iloc[0]:.0f} pixels against the trained size: {parts}"


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "Models evaluated, without further training, on the test images enlarged: (a) accuracy, (b) its change within "
        "each run. Dots: seeds; larger marks: means with their 95 % t intervals, in (b) of the paired changes. "
        "Position embeddings are resampled in every arm. A mask that depends on the offset alone moves exactly; a "
        "kernel table is 0 beyond its offsets; the two-sided decay counts along rows, whose length changes; the "
        "element-wise mask has no values for other sizes and cannot move."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="grid_transfer",
    title="Masks on another grid",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("grid_transfer", "verdicts"),
)
