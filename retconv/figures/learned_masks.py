"""Figure: what masks learn: the element-wise mask, its kernel, that kernel's Gaussian fit, and a learnt mixture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.approximate import fit_gaussian_mixture
from retconv.figures import study
from retconv.figures.panels import letter, pairs
from retconv.figures.spec import FigureSpec
from retconv.figures.style import BLUE, DOUBLE, GREEN, ORANGE, new_figure, scale

_COMPONENTS = 5
_VIEWS = {
    "central row": "ELM: row of a\ncentral token",
    "edge row": "ELM: row of\na corner token",
    "elm": "ELM's projection\non kernels",
    "fit": f"its fit by {_COMPONENTS}\nGaussians",
    "gmm_5": "learnt mixture,\none head",
}
#: Views that share a scale are compared by eye.
_SCALES = (("central row", "edge row"), ("elm", "fit"), ("gmm_5",))
_PROFILES = {
    "elm": (ORANGE, "s", "none"),
    "fit": (ORANGE, "", "-"),
    "gmm_5": (BLUE, "", "-"),
    "table": (GREEN, "", "--"),
}
_NAMES = {"elm": "ELM's projection", "fit": "its fit", "gmm_5": "learnt mixture", "table": "kernel table"}


def _fit(kernel: np.ndarray) -> tuple[np.ndarray, float]:
    """The mixture nearest to a kernel, and the relative residual."""
    fit = fit_gaussian_mixture(torch.tensor(kernel, dtype=torch.float64)[None], _COMPONENTS)
    return fit.kernel[0].numpy(), float(fit.residual)


def _views(kernels: pd.DataFrame, mask: pd.DataFrame) -> tuple[dict[str, np.ndarray], float]:
    """What is drawn of one layer, and the residual of the fit."""
    rows = mask.pivot(index="query", columns="key", values="value").to_numpy(float)
    first = kernels[kernels["head"] == 0]
    views = {
        str(arm): own.pivot(index="offset_1", columns="offset_2", values="value").to_numpy(float)
        for arm, own in first.groupby("arm")
    }
    down, right = (side // 2 + 1 for side in views["elm"].shape)
    views["central row"] = rows[(down // 2) * right + right // 2].reshape(down, right)
    views["edge row"] = rows[0].reshape(down, right)
    views["fit"], residual = _fit(views["elm"])
    return views, residual


def _read() -> pd.DataFrame:
    kernels, masks, stored = (study.read(name) for name in ("mask_kernels", "elm_masks", "masks"))
    tables = []
    for layer in study.some(masks["layer"]):
        views, residual = _views(kernels[kernels["layer"] == layer], masks[masks["layer"] == layer])
        for view, values in views.items():
            rows = pairs(values, "row", "column", "value").assign(view=view, layer=layer)
            tables.append(rows.assign(fit_residual=residual) if view == "fit" else rows)
    kept = [
        "arm",
        "seed",
        "run",
        "layer",
        "head",
        "negative_center",
        "extroversion",
        "residual",
        "scale",
        "data",
        "commit",
    ]
    rules = study.rules(stored, "masks", "mask_kernels", "elm_masks")
    return study.tidy(mask=stored[kept], view=pd.concat(tables), rule=rules)


def _profile(values: np.ndarray) -> pd.Series:
    """Mean weight by distance, divided by the largest magnitude of these means."""
    rows = pairs(values, "row", "column", "value")
    distance = np.hypot(rows["row"] - values.shape[0] // 2, rows["column"] - values.shape[1] // 2).round(6)
    means = rows["value"].groupby(distance).mean()
    return means / means.abs().max()


def _draw_profiles(ax: Axes, views: dict[str, np.ndarray]) -> None:
    for view, (colour, marker, style) in _PROFILES.items():
        if view in views:
            means = _profile(views[view])
            ax.plot(
                means.index, means, color=colour, marker=marker, linestyle=style, markersize=2.4, label=_NAMES[view]
            )
    ax.axhline(0, color="0.35", linewidth=0.5, zorder=0)
    ax.set(ylim=(-1.1, 1.1), yticks=[-1, 0, 1], yticklabels=["−1", "0", "1"])
    ax.spines[["top", "right"]].set_visible(False)


def draw() -> tuple[Figure, pd.DataFrame]:
    """One row for each layer: pictures, then profiles by distance."""
    data = _read()
    rows = data[data["part"] == "view"]
    layers = study.some(rows["layer"])
    figure = new_figure(DOUBLE, 0.8 + 1.0 * len(layers))
    axes = figure.subplots(len(layers), len(_VIEWS) + 1, width_ratios=[*(1.0 for _ in _VIEWS), 1.7], squeeze=False)
    for layer, line in zip(layers, axes, strict=True):
        own = rows[rows["layer"] == layer]
        views = {
            str(view): table.pivot(index="row", columns="column", values="value").to_numpy(float)
            for view, table in own.groupby("view")
        }
        for group in _SCALES:
            look = scale(np.concatenate([views[view].ravel() for view in group]), True)
            for view in group:
                ax = line[list(_VIEWS).index(view)]
                ax.imshow(views[view], **look)
                ax.set(xticks=[], yticks=[])
                ax.set_xlabel(f"±{look['norm'].vmax:.2g}", labelpad=1.5)
        side = views["edge row"].shape
        for ax, (down, right) in ((line[0], (side[0] // 2, side[1] // 2)), (line[1], (0, 0))):
            ax.plot(right, down, marker="s", markersize=4, markerfacecolor="none", markeredgecolor="black")
        line[0].set_ylabel(f"layer {layer + 1}")
        _draw_profiles(line[-1], views)
    for ax, title, text in zip(axes[0], [*_VIEWS.values(), "relative weight\nby distance"], "abcdef", strict=True):
        ax.set_title(title)
        letter(ax, text)
    axes[-1, -1].set_xlabel("distance (tokens)")
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower right", ncols=4)
    study.head(figure, data)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """How many masks inhibit the token itself, and how well Gaussians fit the element-wise mask."""
    masks = data[(data["part"] == "mask") & data["arm"].isin(["elm", "table", "gmm_5"])]
    negative = 100 * masks["negative_center"].astype(float).groupby(masks["arm"], sort=False).mean()
    shares = ", ".join(f"{value:.0f} % of {study.LABELS[str(arm)]}" for arm, value in negative.items())
    fits = data["fit_residual"].dropna()
    return (
        f"the self-weight is negative in {shares} masks (all seeds, layers and heads); {_COMPONENTS} Gaussians leave "
        f"{100 * fits.min():.0f}–{100 * fits.max():.0f} % of the projected kernel's norm"
    )


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "Masks after training, in the first, middle and last layer, one seed: rows of the element-wise mask folded to "
        "the grid, for (a) a central and (b) a corner token (square), (c) the mean over pairs of equal offset, which "
        "is its projection onto kernels, (d) the nearest mixture of Gaussians to that, (e) a Gaussian mixture mask "
        "that was trained as such, first head. Red is positive, blue negative, 0 white; numbers are the ends of the "
        "scale. (f) Mean weight by distance, largest magnitude 1. The paper reports of its picture that a free mask "
        "inhibits the flow of a patch to itself and otherwise varies with distance, and that Gaussians fit it."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="learned_masks",
    title="What masks learn",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("masks", "mask_kernels", "elm_masks", "verdicts"),
)
