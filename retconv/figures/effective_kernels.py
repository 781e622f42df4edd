"""Figure: the effective kernels of trained attention, and how much of its weights they explain (law 17)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.colours import scale
from retconv.figures import study
from retconv.figures.paired import over_seeds, pm
from retconv.figures.panels import colour_bar
from retconv.figures.style import SINGLE, new_figure

_TABLES = ("study_cifar_small_effective_kernels", "study_cifar_small_effective")
_ARMS = ("plain", "manhattan_bias")


def _tabulate(kernels: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    shares = shares[shares["arm"].isin(_ARMS)]
    shares["explained"] *= 100
    keys = ["arm", "seed", "run", "layer", "data", "commit"]
    runs = shares.groupby(keys, sort=False)["explained"].mean().reset_index()
    overall = runs.groupby(["arm", "seed"], sort=False)["explained"].mean().reset_index()
    layers, means = (over_seeds(t, "explained", by) for t, by in ((runs, ["arm", "layer"]), (overall, ["arm"])))
    kernels = kernels[kernels["arm"].isin(layers["arm"])]
    if kernels.empty:
        return study.tidy(run=runs)
    where = ["arm", "seed", "layer", "offset_1", "offset_2"]
    weights = kernels.groupby(where, sort=False)["value"].mean().reset_index()
    return study.tidy(run=runs, kernel=weights, layer=layers, mean=means)


def _message(data: pd.DataFrame) -> str:
    """What the kernel explains, of plain attention and of the mask that has most."""
    rows = data[data["part"] == "mean"].set_index("arm").to_dict("index")
    shares = {arm: f"{pm(rows[arm], sign=False)} %" for arm in _ARMS if arm in rows}
    (first, share), *others = shares.items()
    parts = [f"{share} of the weights' variance in {study.LABELS[first]}"]
    parts += [f"{share} in {study.LABELS[arm]}" for arm, share in others]
    return f"A kernel explains {', '.join(parts)}"


@study.register("effective_kernels", 270, "cifar_small", _TABLES, _tabulate, _message)
def plot(data: pd.DataFrame) -> Figure:
    """Effective kernels of trained attention.

    Mean attention weight by offset, over images, pairs and heads, of the first seed, on one scale for the layers of a
    mask; uniform attention has 1.6 %. Below stands the share of the variance of all weights that this kernel explains,
    mean over heads and seeds; told is its mean over layers, with its 95 % t interval.
    """
    kernels, shares = (data[data["part"] == part] for part in ("kernel", "layer"))
    arms = [arm for arm in _ARMS if arm in set(kernels["arm"])]
    layers = sorted(kernels["layer"].unique())
    figure = new_figure(SINGLE, 0.75 + 0.86 * len(arms))
    axes = figure.subplots(len(arms), len(layers), squeeze=False)
    for arm, row in zip(arms, axes, strict=True):
        weights = kernels[kernels["arm"] == arm].assign(value=100 * kernels["value"])
        for layer, ax in zip(layers, row, strict=True):
            own = weights[weights["layer"] == layer].astype({"offset_1": int, "offset_2": int})
            kernel = own.pivot(index="offset_1", columns="offset_2", values="value").astype(float)
            last = kernel.index.max()
            end = last + 0.5
            image = ax.imshow(kernel, extent=(-end, end, end, -end), **scale(weights["value"], False))
            share = shares[(shares["arm"] == arm) & (shares["layer"] == layer)]["mean"].iloc[0]
            ax.set(xticks=[], yticks=[-last, 0, last] if ax is row[0] else [])
            ax.set_xlabel(f"{share:.1f} %", labelpad=1.5)
        row[0].set_ylabel(study.LABELS[arm].replace(" ", "\n", 1))
        row[0].annotate(
            "explains", (0, 0), (-4, -3), va="top", ha="right", xycoords="axes fraction", textcoords="offset points"
        )
        colour_bar(figure, image, row[-1], "weight (%)")
    for layer, ax in zip(layers, axes[0], strict=True):
        ax.set_title(f"layer {layer + 1:.0f}")
    return figure
