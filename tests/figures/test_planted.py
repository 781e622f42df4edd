"""The figures of planted truths: they show every stored row, and what they say is read off it."""

from __future__ import annotations

import csv
import math
import re
from statistics import mean

import matplotlib.text
import pytest

from retconv.figures import FIGURES
from retconv.figures.style import SINGLE, house_style

NAMES = ("planted_recovery", "planted_varying", "planted_bias", "planted_pairs")


def stored(name: str) -> list[dict[str, str]]:
    (path,) = FIGURES[name].data
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", NAMES)
def test_every_stored_row_is_shown_under_one_message(name: str) -> None:
    with house_style():
        figure, data = FIGURES[name].draw()
    rows = stored(name)
    if name == "planted_bias":  # from most sequences alone
        rows = [row for row in rows if row["n"] == max((row["n"] for row in rows), key=int)]
    assert len(data) == len(rows)
    assert set(data["seed"]) == {int(row["seed"]) for row in rows}
    assert len(set(data["seed"])) >= 5
    marks = sum(len(line.get_xdata()) for ax in figure.axes for line in ax.lines if line.get_linestyle() == "None")
    assert marks >= len(rows)
    (message,) = (text for text in figure.findobj(matplotlib.text.Text) if text is figure._suptitle)
    assert len(message.get_text()) < 100
    assert figure.get_figwidth() == SINGLE
    assert FIGURES[name].text(data).endswith("`retconv planted`.")


def said(name: str) -> str:
    with house_style():
        return FIGURES[name].finding(FIGURES[name].draw()[1])


def test_pairs_says_the_mean_accuracies() -> None:
    rows = stored("planted_pairs")
    most = max(int(row["images"]) for row in rows)
    text = said("planted_pairs")
    for task, title in (("near", "near pairs decide"), ("far", "far pairs decide"), ("both", "both decide")):
        own = [row for row in rows if row["task"] == task and int(row["images"]) == most]
        (part,) = re.findall(rf"(?<!\w ){title}: ([^;]*)", text.removeprefix("mean accuracy in per cent, "))
        for arm, name in (("plain", "no mask"), ("table", "kernel table"), ("elm", "element-wise")):
            value = mean(float(row["accuracy"]) for row in own if row["arm"] == arm)
            assert f"{name} {value:.1f}" in part


def test_recovery_says_from_how_many_samples_on_a_family_is_near() -> None:
    rows = [row for row in stored("planted_recovery") if row["planted"] == "decay"]
    text = said("planted_recovery")
    for family, name in (("elm", "element-wise (ELM)"), ("table", "kernel table"), ("decay", "Manhattan decay")):
        sizes = sorted({int(row["n"]) for row in rows})
        near = [
            n
            for n in sizes
            if mean(float(r["distance"]) for r in rows if r["family"] == family and int(r["n"]) == n) < 0.1
        ]
        assert f"{name} {near[0]:,}" in text


def test_varying_never_shows_a_kernel_below_the_planted_residual() -> None:
    for row in stored("planted_varying"):
        if row["family"] == "table":
            assert float(row["distance"]) >= float(row["planted_residual"]) * (1 - 1e-5)
            squared = float(row["squared"]) / float(row["norm"])
            assert float(row["distance"]) == pytest.approx(math.sqrt(squared), rel=1e-4)
