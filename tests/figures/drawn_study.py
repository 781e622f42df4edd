"""The figures of the studies drawn from planted tables, for their tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib.text
import pandas as pd
import pytest

from retconv.ambient import threads
from retconv.figures import FIGURES, study
from retconv.figures.style import SINGLE, house_style
from retconv.stored import read_runs
from tests.figures.planted_study import Planted

NAMES = [spec.name for spec in FIGURES.values() if "retconv studies" in spec.command]
#: Quantile 0.975 of Student's t with 4 degrees of freedom, from tables.
T4 = 2.776445


@cache
def _tables() -> dict[str, str]:
    """The text of each planted file, by its name: 40,000 rows, which every test starts from."""
    return {f"study_{name}.csv": pd.DataFrame(rows).to_csv(index=False) for name, rows in Planted().tables().items()}


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write planted tables, which figures read from then on, and which are all their data files."""
    for file, text in _tables().items():
        (folder / file).write_text(text, encoding="utf-8")
    monkeypatch.setattr(study, "TABLES", folder)
    for name in NAMES:
        files = tuple(folder / path.name for path in FIGURES[name].data)
        monkeypatch.setitem(FIGURES, name, replace(FIGURES[name], data=files))


def draw(name: str) -> tuple[pd.DataFrame, list[str]]:
    """A figure's table, and every text that is written on it, in one column."""
    with house_style(), threads(1):
        figure, data = FIGURES[name].draw()
        figure.draw_without_rendering()
    assert figure.get_figwidth() == SINGLE
    for text in (figure._suptitle, figure._supxlabel):
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width, text.get_text()
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    return data, [text.replace("\n", " ").replace("\xa0", " ") for text in texts]


def edit(folder: Path, table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / f"study_{table}.csv"
    change(read_runs(path)).to_csv(path, index=False)


def without(arms: Iterable[str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table[~table["arm"].isin([*arms])]


def by_hand(values: list[float]) -> tuple[float, float, float]:
    """Mean and Student interval of five values."""
    mean, half = statistics.fmean(values), T4 * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half
