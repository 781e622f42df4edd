"""The figures of the studies drawn from planted tables, for their tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import matplotlib.text
import pandas as pd
import pytest

from retconv.figures import FIGURES, study
from retconv.figures.registry import one_thread
from retconv.figures.style import house_style
from tests.figures.planted_study import Planted

NAMES = [spec.name for spec in FIGURES.values() if "retconv studies" in spec.command]
#: Quantile 0.975 of Student's t with 4 degrees of freedom, from tables.
T4 = 2.776445


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write planted tables, which figures read from then on, and which are all their data files."""
    Planted().write(folder)
    monkeypatch.setattr(study, "TABLES", folder)
    for name in NAMES:
        files = tuple(folder / path.name for path in FIGURES[name].data)
        monkeypatch.setitem(FIGURES, name, replace(FIGURES[name], data=files))


def draw(name: str) -> tuple[pd.DataFrame, list[str]]:
    """A figure's table, and every text that is written on it."""
    with house_style(), one_thread():
        figure, data = FIGURES[name].draw()
        figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    return data, [text.replace("\n", " ").replace("\xa0", " ") for text in texts]


def edit(folder: Path, table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / f"study_{table}.csv"
    change(pd.read_csv(path, dtype={"run": str})).to_csv(path, index=False)


def without(arms: Iterable[str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table[~table["arm"].isin([*arms])]


def by_hand(values: list[float]) -> tuple[float, float, float]:
    """Mean and Student interval of five values."""
    mean, half = statistics.fmean(values), T4 * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half
