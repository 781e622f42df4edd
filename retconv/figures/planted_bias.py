"""Figure: a mask planted in softmax attention is found up to what softmax leaves free, from a stored table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.paired import SEED, spread
from retconv.figures.panels import letters
from retconv.figures.planted import register
from retconv.figures.style import BLUE, ORANGE, SINGLE, new_figure

_COLUMNS = ["arm", "planted", "learnt", "free", "n", "seed", "grid", "unseen", "left", "raw", "distance"]
_COLUMNS += ["squared", "expected"]
_MESSAGE = "A mask inside softmax attention is found, but for what softmax leaves free"
_FREE = {
    "constant": "one constant",
    "rows": "a constant of each row",
    "scale": "scale with the scores",
    "nothing": "nothing",
}


def _tabulate(stored: pd.DataFrame) -> pd.DataFrame:
    data = stored.assign(theory=stored["distance"] * np.sqrt(stored["expected"] / stored["squared"]))
    return data[data["n"] == data["n"].max()].reset_index(drop=True)


def finding(data: pd.DataFrame) -> str:
    """Distances with and without what is free, and what a wrong placement leaves."""
    right = data[data["planted"] == data["learnt"]]
    parts = []
    for arm, own in right.groupby("arm", sort=False):
        whole = "" if own["free"].iloc[0] == "nothing" else f" ({own['raw'].mean():.2f} with what is free)"
        parts.append(f"{arm} {own['distance'].mean():.3f}{whole}")
    wrong = data[data["planted"] != data["learnt"]]["left"]
    return (
        f"from {data['n'].iloc[0]} sequences, mean distances: {'; '.join(parts)}; the wrong placement leaves "
        f"{wrong.min():.2f} to {wrong.max():.2f} times the noise"
    )


@register("bias", 190, _COLUMNS, _MESSAGE, finding, tabulate=_tabulate)
def plot(data: pd.DataFrame) -> Figure:
    """Planted masks in softmax attention.

    Masks planted in softmax attention beside content, learnt from noisy outputs together with the queries: as a bias,
    softmax(S + B), or before the logits, softmax(M ⊙ S). (a) Relative distance to what was planted, and without what
    softmax leaves free; black: the Cramér–Rao expectation. (b) Error of the outputs over that of the noise; crosses:
    learnt in the other placement.
    """
    arms = list(data["arm"].unique())
    wrong = data[data["planted"] != data["learnt"]]["arm"].unique()
    figure = new_figure(SINGLE, 4.6)
    axes = figure.subplots(2, 1, height_ratios=[1.5, 1])
    for i, arm in enumerate(arms):
        own = data[data["arm"] == arm]
        y = i + spread(own["seed"], 0.4)
        if arm not in wrong:
            if own["free"].iloc[0] != "nothing":
                axes[0].plot(own["raw"], y, color=ORANGE, **SEED | {"marker": "s"})
            axes[0].plot(own["distance"], y, color=BLUE, **SEED)
            theory = {"color": "0.2", "linewidth": 1.2, "zorder": 0}
            axes[0].vlines(own["theory"].mean(), i - 0.4, i + 0.4, **theory)
        axes[1].plot(own["left"], y, **SEED | ({"color": "black", "marker": "X"} if arm in wrong else {"color": BLUE}))
    free = data.groupby("arm")["free"].first()
    right = [arm for arm in arms if arm not in wrong]
    axes[0].set_yticks(range(len(right)), [f"{arm}\nfree: {_FREE[free[arm]]}" for arm in right])
    axes[0].set_ylim(len(right) - 0.5, -0.5)
    axes[0].plot([], [], color=ORANGE, marker="s", linestyle="none", label="all of it")
    axes[0].plot([], [], color=BLUE, marker="o", linestyle="none", label="what softmax shows")
    axes[0].plot([], [], color="0.2", linewidth=1.2, label="theory")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.2, 1.02), ncols=3, columnspacing=1)
    axes[0].set(xscale="log", xlabel="relative distance to the planted mask")
    axes[1].set_yticks(range(len(arms)), arms)
    axes[1].set_ylim(len(arms) - 0.5, -0.5)
    axes[1].axvline(1, color="0.35", linewidth=0.8, linestyle="--", zorder=0)
    axes[1].set_xlabel("error of outputs / noise")
    letters(axes)
    return figure
