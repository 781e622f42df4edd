"""Figure: the effective kernel of trained attention, layer by layer, and how much of it that explains (law 17)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import draw_line, over_seeds
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import DOUBLE, new_figure, scale

_SHARES = {
    "explained": "explained by the kernel",
    "position": "by the pair of tokens",
    "content": "by the image",
}
_KEYS = ["arm", "seed", "run", "layer"]


def _read() -> pd.DataFrame:
    stored = study.read("effective")
    runs = stored.groupby([*_KEYS, "scale", "data", "commit"], sort=False)[list(_SHARES)].mean().mul(100).reset_index()
    means = [over_seeds(runs, share, ["arm", "layer"]).assign(share=share) for share in _SHARES]
    kernels = study.read("effective_kernels")
    kernels = kernels[kernels["layer"].isin(study.some(kernels["layer"]))]
    where = ["arm", "seed", "layer", "offset_1", "offset_2"]
    shown = kernels.groupby(where, sort=False)["value"].mean().reset_index()
    rules = study.rules(stored, "effective", "effective_kernels")
    return study.tidy(run=runs, share=pd.concat(means), kernel=shown, rule=rules)


def _draw_kernels(axes: np.ndarray, data: pd.DataFrame, arms: list[str], layers: list[int]) -> None:
    """A column for each arm, a row for each layer; every picture has its own scale from 0."""
    for layer, row in zip(layers, axes, strict=True):
        for arm, ax in zip(arms, row, strict=True):
            rows = data[(data["arm"] == arm) & (data["layer"] == layer)]
            kernel = rows.pivot(index="offset_1", columns="offset_2", values="value").to_numpy(float)
            ax.imshow(kernel, **scale(kernel, False))
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(f"{100 * kernel.max():.2g} %", labelpad=1.5)
        row[0].set_ylabel(f"layer {layer + 1:.0f}")
    for arm, ax in zip(arms, axes[0], strict=True):
        ax.set_title(
            study.LABELS[arm].replace(" mixture", "\nmixture").replace("decay, ", "\ndecay, ").replace(" (", "\n(")
        )


def _draw_share(ax: Axes, data: pd.DataFrame, share: str, arms: list[str]) -> None:
    for i, arm in enumerate(arms):
        rows = data[data["arm"] == arm]
        means = rows[rows["share"] == share]
        draw_line(ax, rows[rows["part"] == "run"], means, "layer", share, arm, 0.1 * (i - (len(arms) - 1) / 2))
    layers = sorted(data["layer"].dropna().unique())
    ax.set(ylim=(0, 105), yticks=[0, 50, 100], xticks=layers, xticklabels=[f"{layer + 1:.0f}" for layer in layers])
    ax.set_title(_SHARES[share], pad=2)
    ax.spines[["top", "right"]].set_visible(False)


def draw() -> tuple[Figure, pd.DataFrame]:
    """Kernels of the first, middle and last layer at the left, shares of variance in all layers at the right."""
    data = _read()
    arms = [arm for arm in study.LOOK if arm in set(data.loc[data["part"] == "kernel", "arm"])]
    shown = study.some(data["layer"])
    figure = new_figure(DOUBLE, 1.25 + 0.8 * max(len(shown), 2))
    parts: np.ndarray = figure.subfigures(1, 2, width_ratios=[1.75, 1], squeeze=False)
    left, right = parts[0]
    axes = left.subplots(len(shown), len(arms), squeeze=False)
    _draw_kernels(axes, data[data["part"] == "kernel"], arms, shown)
    shares = right.subplots(3, 1, sharex=True)
    for ax, share in zip(shares, _SHARES, strict=True):
        _draw_share(ax, data[data["part"] != "kernel"], share, arms)
        ax.set_ylabel("variance (%)")
    shares[-1].set_xlabel("layer")
    figure.legend(*shares[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(arms))
    for ax, text in zip((axes[0, 0], *shares), "abcd", strict=True):
        letter(ax, text)
    study.head(figure, data)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """What the kernel explains, mean over layers, arm by arm."""
    rows = data[(data["part"] == "share") & (data["share"] == "explained")]
    means = rows.groupby("arm", sort=False)["mean"].agg(["min", "max"])
    parts = ", ".join(f"{study.LABELS[str(r.Index)]} {r.min:.1f}–{r.max:.1f} %" for r in means.itertuples())
    return f"of the variance of attention weights their kernel explains, over layers, {parts}"


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "What attention weights amount to when their mean over images and pairs of equal offset stands for them. (a) "
        "This effective kernel in the first, middle and last layer, mean over heads, one seed, each from 0 (white) to "
        "the weight written below it, offset 0 being in the middle. (b–d) The variance of the weights over all test "
        "images, divided: what depends on the offset alone, hence is a convolution; what depends on the pair of "
        "tokens besides; and what changes from image to image. Mean over heads; dots are seeds, larger marks their "
        "mean with its 95 % t interval. Softmax attention has an effective kernel and an explained variance, nothing "
        "more."
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="effective_kernels",
    title="Effective kernels of trained attention",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("effective", "effective_kernels", "verdicts"),
)
