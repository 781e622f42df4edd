"""What the figures of planted truths share: stored tables, looks and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.style import BLUE, GREEN, ORANGE, PURPLE
from retconv.stored import TABLES

#: Colour, marker and name of the families of masks.
FAMILIES = {
    "elm": (ORANGE, "s", "element-wise (ELM)"),
    "table": (GREEN, "^", "kernel table"),
    "gmm": (BLUE, "D", "mixture of two"),
    "decay": (PURPLE, "v", "Manhattan decay"),
}
#: How a seed is drawn.
SEED: dict[str, Any] = {"linestyle": "none", "markersize": 2.4, "markeredgewidth": 0.0, "alpha": 0.45}


def stored(name: str) -> tuple[Path, ...]:
    """The file of a table that ``python -m retconv.planted`` wrote."""
    return (TABLES / f"planted_{name}.csv",)


def read(name: str, columns: list[str]) -> pd.DataFrame:
    """Some columns of a stored table, with where they come from."""
    return pd.read_csv(TABLES / f"planted_{name}.csv")[[*columns, "scale", "commit", "torch", "device"]]


def origin(data: pd.DataFrame) -> str:
    """Seeds, grid and command, for the end of a caption."""
    seeds, grid = data["seed"].nunique(), data["grid"].iloc[0]
    return f"{seeds} seeds, grid {grid}; stored results of `python -m retconv.planted`."


def head(figure: Figure, text: str) -> None:
    """The message, over the panels."""
    figure.suptitle(text, x=0.005, ha="left", fontsize=8)
