"""Figure: which mask solves a classification by near, far or both kinds of token pairs, from a stored table."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.paired import SEED, spread
from retconv.figures.panels import letters
from retconv.figures.planted import FAMILIES, register
from retconv.figures.style import CYAN, SINGLE, new_figure

_COLUMNS = ["task", "arm", "images", "seed", "accuracy", "ceiling", "grid", "pairs", "tested"]
_MESSAGE = "A mask that falls with distance helps where near pairs decide, and hurts where far ones do"
_TASKS = {"near": "near pairs decide", "far": "far pairs decide", "both": "both decide"}
#: Colour, marker and name.
_ARMS = {
    "plain": ("0.35", "o", "no mask"),
    "decay": (*FAMILIES["decay"][:2], "Manhattan decay"),
    "gmm_positive": (*FAMILIES["gmm"][:2], "positive mixture"),
    "gmm": (CYAN, "P", "mixture on logits"),
    "table": (*FAMILIES["table"][:2], "kernel table"),
    "elm": (*FAMILIES["elm"][:2], "element-wise"),
}


def finding(data: pd.DataFrame) -> str:
    """Mean accuracies after most images, and what the table has over the element-wise mask after few."""
    most = data[data["images"] == data["images"].max()].groupby(["task", "arm"])["accuracy"].mean()
    parts = [
        f"{title}: " + ", ".join(f"{name} {most[task, arm]:.1f}" for arm, (_, _, name) in _ARMS.items())
        for task, title in _TASKS.items()
    ]
    few = data[data["images"] == data["images"].min()].groupby("arm")["accuracy"].mean()
    gap, late = few["table"] - few["elm"], (most[:, "table"] - most[:, "elm"]).mean()
    return (
        f"mean accuracy in per cent, {'; '.join(parts)}; the table is ahead of the element-wise mask by {gap:.1f} "
        f"points after few images and by {late:.1f} after many"
    )


def _images(data: pd.DataFrame) -> dict[str, object]:
    return {"few": data["images"].min(), "most": data["images"].max()}


@register("pairs", 200, _COLUMNS, _MESSAGE, finding, _images)
def plot(data: pd.DataFrame) -> Figure:
    """Near and far pairs.

    Planted pairs: some tokens of a noise image are copies of others, up to a sign, at distance 1 (near), 3, and 6 or
    more (far); the label is the sign of near pairs, of far pairs, or whether both are positive, and other pairs are
    decoys. One head of softmax attention, its mask a bias (the signed mixture multiplies the logits), trained on
    {most:,} images (grey: {few:,}). Black: ceilings without noise; dotted: chance.
    """
    few, most = _images(data).values()
    figure = new_figure(SINGLE, 4.7)
    axes = figure.subplots(3, 1, sharex=True, sharey=True)
    letters(axes)
    for ax, (task, title) in zip(axes, _TASKS.items(), strict=True):
        for i, (arm, (colour, marker, _)) in enumerate(_ARMS.items()):
            own = data[(data["task"] == task) & (data["arm"] == arm)]
            for images, look in ((few, {"color": "0.75"}), (most, {"color": colour, "alpha": 0.7})):
                rows = own[own["images"] == images]
                ax.plot(rows["accuracy"], i + spread(rows["seed"], 0.5), **SEED | look | {"marker": marker})
            if arm != "gmm":  # nobody knows its ceiling
                ax.vlines(own["ceiling"].iloc[0], i - 0.42, i + 0.42, color="black", linewidth=1.1)
        ax.axvline(50, color="0.35", linewidth=0.7, linestyle=":")
        ax.set(title=title, xlim=(45, 103))
    axes[-1].set_xlabel(
        f"test accuracy (%)\ncolour: {most:,} images, grey: {few:,}; dotted: chance\n"
        "black: ceiling (of the mixture on logits unknown)"
    )
    axes[0].set_yticks(range(len(_ARMS)), [name for _, _, name in _ARMS.values()])
    axes[0].set_ylim(len(_ARMS) - 0.5, -0.5)
    return figure
