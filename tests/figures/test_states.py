"""The figure of recurrences beyond the grid shows what it says."""

import math
from pathlib import Path

import pandas as pd
import pytest

from retconv.figures import FIGURES
from tests.figures.drawn import table


@pytest.fixture
def data(folder: Path) -> pd.DataFrame:
    rows = table(folder, "states_beyond_the_grid")
    assert "roots of unity 512 states, 5.1e+01" in FIGURES["states_beyond_the_grid"].finding(rows)
    return rows


def told(weight: float) -> float:
    """As the table tells it, in three digits: more of them depend on the number of threads."""
    return float(f"{weight:.3g}")


def test_law_24_weights_beyond_the_grid(data: pd.DataFrame) -> None:
    """The kernel is the Gaussian; roots of unity repeat it, the stable few die away."""
    weights = data[data["quantity"] == "weight"].pivot_table(index="distance", columns="recurrence", values="value")
    for m in (0, 40, 200):
        assert weights["kernel"][m] == told(math.exp(-(m**2) / 3200))
    ending = math.fsum(math.exp(-(m**2) / 3200) for m in range(512))
    assert weights["roots of unity"][512] == told(-ending)
    assert weights["roots of unity"][540] == told(math.exp(-((540 - 513) ** 2) / 3200))  # a period later
    beyond = weights[weights.index >= 512].abs().max()
    assert beyond[["balanced truncation", "certified decays"]].max() < 1e-9
    assert beyond["real poles"] > 100


def test_law_24_states_reach_their_tolerance_and_grow_with_it(data: pd.DataFrame) -> None:
    states = data[data["quantity"] == "states"]
    others = states[states["recurrence"] != "roots of unity"]
    assert (others["error_on_grid"] <= others["tolerance"]).all()
    assert (states.loc[states["recurrence"] == "roots of unity", "states"] == 512).all()
    assert (states["error_to_2n"] <= states["error_to_4n"]).all()
    for _, rows in others.groupby(["kernel", "recurrence"]):
        assert (rows["states"].diff().dropna() >= 0).all()
        assert rows["tolerance"].iloc[0] == pytest.approx(1e-2)
    decays = others[others["recurrence"] == "certified decays"]
    assert decays.groupby("kernel")["tolerance"].count().tolist() == [7, 7]
