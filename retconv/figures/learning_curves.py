"""Figure: how a small ViT learns with and without a mask, run by run, from stored runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import BLUE, DOUBLE, ORANGE, new_figure

#: Written by ``python -m retconv.results --what metrics --out`` after ``python -m retconv.sweep digits``.
_DATA = Path("paper_figures/data/learning_curves.csv")
_LOOK = {"plain": (BLUE, "--"), "gmm": (ORANGE, "-")}
_NAMES = {"plain": "plain", "gmm": "Gaussian mixture mask"}
_PANELS = {
    "train_loss": "training loss (nats)",
    "validation_loss": "validation loss (nats)",
    "validation_accuracy": "validation accuracy (%)",
}


def _read() -> pd.DataFrame:
    stored = pd.read_csv(_DATA)
    stored["mask"] = stored["model.options.mask"].fillna("plain")
    stored["validation_accuracy"] = 100 * stored["validation_accuracy"]
    return stored[["mask", "seed", "epoch", *_PANELS]].sort_values(["mask", "seed", "epoch"], ignore_index=True)


def draw() -> tuple[Figure, pd.DataFrame]:
    """One panel for each number: thin lines are runs, thick ones their mean."""
    data = _read()
    figure = new_figure(DOUBLE, 2.3)
    axes = figure.subplots(1, 3)
    for ax, text, (column, label) in zip(axes, "abc", _PANELS.items(), strict=True):
        for mask, (colour, style) in _LOOK.items():
            table = data[data["mask"] == mask].pivot(index="epoch", columns="seed", values=column)
            ax.plot(table.index, table, color=colour, linestyle=style, linewidth=0.5, alpha=0.6)
            ax.plot(table.index, table.mean(axis=1), color=colour, linestyle=style, label=_NAMES[mask])
        ax.set(xlabel="epoch", ylabel=label, xlim=(1, data["epoch"].max()))
        ax.spines[["top", "right"]].set_visible(False)
        letter(ax, text)
    for ax in axes[:2]:
        ax.set_ylim(bottom=0)
    axes[2].set_ylim(top=100)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """Validation accuracy at the last epoch, mean and range over seeds."""
    last = data[data["epoch"] == data["epoch"].max()].groupby("mask")["validation_accuracy"]
    parts = [f"{name} {v.mean():.1f} % ({v.min():.1f}–{v.max():.1f}, n = {len(v)})" for name, v in last]
    return "validation accuracy after the last epoch: " + ", ".join(parts)


FIGURE = FigureSpec(
    name="learning_curves",
    title="Learning with and without a mask",
    caption=(
        "A small ViT (3 layers of 64 channels, 4 heads, 4×4 tokens) on scikit-learn's digits, plain and with a "
        "Gaussian mixture mask in front of the softmax of every layer, by the smoke recipe: (a) training loss, whose "
        "labels are smoothed by 0.1, (b) loss and (c) accuracy on the 144 held-out training images. Thin lines: seeds "
        "0, 1, 2, trained as one stacked model; thick: their mean. One data set this small shows that training works, "
        "not which mask is better."
    ),
    draw=draw,
    finding=finding,
    data=(_DATA,),
)
