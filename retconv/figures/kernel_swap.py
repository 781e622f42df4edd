"""Figure: what is left when kernels are cut, or attention becomes its effective kernel, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import draw_line, over_seeds
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import DOUBLE, new_figure

_KEPT = ["arm", "seed", "run", "kind", "k", "layer", "test_accuracy", "change", "scale", "data", "commit"]
_ALL = -1  # stands for all layers at once, which the stored table names so


def _read() -> pd.DataFrame:
    stored = study.read("kernel_swap")
    effective = stored["kind"] == "effective"
    layer = pd.to_numeric(stored["layer"].replace("all", _ALL))
    runs = stored.assign(layer=layer.where(effective))
    cut = over_seeds(runs[runs["kind"] == "truncated"], "change", ["arm", "kind", "k"])
    swapped = over_seeds(runs[effective], "change", ["arm", "kind", "layer"])
    return study.tidy(run=runs[_KEPT], mean=pd.concat([cut, swapped]), rule=study.rules(runs, "kernel_swap"))


def draw() -> tuple[Figure, pd.DataFrame]:
    """The change of accuracy by size of the kernels, and by the layer whose attention is swapped."""
    data = _read()
    last = int(data["layer"].max())
    data["place"] = data["layer"].where(data["layer"] != _ALL, last + 1.5)
    arms = [arm for arm in study.LOOK if arm in set(data["arm"])]
    figure = new_figure(DOUBLE, 2.5)
    axes = figure.subplots(1, 2)
    for ax, kind, x, width in ((axes[0], "truncated", "k", 0.25), (axes[1], "effective", "place", 0.12)):
        for i, arm in enumerate(arms):
            rows = data[(data["arm"] == arm) & (data["kind"] == kind)]
            runs, means = rows[rows["part"] == "run"], rows[rows["part"] == "mean"]
            shift = width * (i - (len(arms) - 1) / 2)
            whole = means[x] > last  # all layers at once are no further layer: no line leads there
            for part in (means[~whole], means[whole]) if kind == "effective" else (means,):
                draw_line(ax, runs[runs[x].isin(part[x])], part, x, "change", arm, shift)
        ax.axhline(0, color="0.35", linewidth=0.8, linestyle="--", zorder=0)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set(xlabel="side k of the kernels that are kept (tokens)", ylabel="change of test accuracy (points)")
    axes[0].set_xticks(sorted(data["k"].dropna().unique()))
    axes[1].set(xlabel="layer whose attention is its effective kernel", ylabel="change of test accuracy (points)")
    axes[1].set_xticks([*range(last + 1), last + 1.5], [*map(str, range(1, last + 2)), "all"])
    keys = dict(zip(*reversed(axes[1].get_legend_handles_labels()), strict=True))
    figure.legend(keys.values(), keys.keys(), loc="outside right center")
    for ax, text in zip(axes, "ab", strict=True):
        letter(ax, text)
    study.head(figure, data)
    return figure, data.drop(columns="place")


def finding(data: pd.DataFrame) -> str:
    """The change where all attention is swapped, and the least kernel that costs at most a point."""
    means = data[data["part"] == "mean"]
    cut = means[means["kind"] == "truncated"]
    least = cut[cut["mean"] >= -1].groupby("arm", sort=False)["k"].min()
    sizes = ", ".join(
        f"{study.LABELS[arm]} {f'{least[arm]:.0f}×{least[arm]:.0f}' if arm in least else 'none'}"
        for arm in cut["arm"].unique()
    )
    swapped = means[(means["kind"] == "effective") & (means["layer"] == _ALL)].itertuples()
    changes = ", ".join(f"{study.LABELS[r.arm]} {study.signed(r.mean)}" for r in swapped)
    return (
        f"smallest kernels that cost at most a point on average: {sizes}; all attention swapped costs {changes} points"
    )


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "Trained models, swapped and not trained further; the change is within each run, with 95 % t intervals of its "
        "mean over seeds. (a) Every mask's kernel cut to k×k, 0 outside; of the element-wise mask, its projection "
        "onto kernels, so that even its whole kernel changes it. (b) The attention weights of one layer, or of all, "
        "replaced by their mean over images and pairs of equal offset, the effective kernel: no content is left. "
        "Attention is no convolution; this is what it costs to treat it as one. Dots: seeds."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="kernel_swap",
    title="Attention with its kernel cut, or its kernel alone",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("kernel_swap", "verdicts"),
)
