"""The figure of heads that become convolutions shows every stored row, and says what is read off them."""

from __future__ import annotations

import csv
from statistics import fmean

import matplotlib.text
import pytest

from retconv.figures import FIGURES
from retconv.figures.style import house_style

SPEC = FIGURES["convolved_heads"]


@pytest.fixture(scope="module")
def stored() -> list[dict[str, str]]:
    (path,) = SPEC.data
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def change(rows: list[dict[str, str]], order: str, heads: int) -> float:
    return fmean(float(row["change"]) for row in rows if row["order"] == order and int(row["heads"]) == heads)


def test_rows_are_of_whole_runs(stored: list[dict[str, str]]) -> None:
    """Each starts at its own accuracy, and both orders end at all heads alike."""
    for run in {row["run"] for row in stored}:
        own = [row for row in stored if row["run"] == run]
        assert {float(row["change"]) for row in own if row["heads"] == "0"} == {0.0}
        assert len({row["accuracy"] for row in own if row["heads"] == row["of"]}) == 1
        errors = [float(row["error"]) for row in own if row["order"] == "error"]
        assert errors == sorted(errors)
        assert {row["tested"] for row in own} == {"1000"}


def test_every_row_is_drawn_under_what_they_say(stored: list[dict[str, str]]) -> None:
    with house_style():
        figure, data = SPEC.draw()
    assert len(data) == len(stored)
    lines = [line for ax in figure.axes for line in ax.lines]
    assert sum(len(line.get_xdata()) for line in lines if line.get_alpha()) == len(stored)
    (message,) = (text.get_text() for text in figure.findobj(matplotlib.text.Text) if text is figure._suptitle)
    by_error, at_random = (f"{change(stored, order, 4):.1f}".replace("-", "−") for order in ("error", "random"))
    assert (
        " ".join(message.split()) == f"4 of 16 heads as convolutions: {by_error} points by error, {at_random} at random"
    )
    assert SPEC.finding(data).startswith(" ".join(message.split()))
    gap = change(stored, "error", 4) - change(stored, "random", 4)
    assert f"better by {gap:.1f} ± " in SPEC.finding(data)
