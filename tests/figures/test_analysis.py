"""The figures of the analysis: their tables are the mathematics, read back by other means."""

from __future__ import annotations

import cmath
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest

from retconv.ambient import threads
from retconv.atlas import ENTRIES
from retconv.figures import FIGURES
from retconv.figures.style import house_style


@cache
def table(name: str) -> pd.DataFrame:
    with house_style(), threads(1):
        return FIGURES[name].draw()[1]


def test_symbols_are_the_textbook_formulas() -> None:
    data = table("symbols")
    assert FIGURES["symbols"].finding(data).startswith("closed forms equal the samples to")
    assert (data["sample"] - data["closed_form"]).abs().max() <= 1e-9 * data["sample"].abs().max()
    causal = data[(data["mask"] == "causal decay") & (data["parameter"] == "γ = 0.85")]
    assert causal["sample"].tolist() == pytest.approx(
        [abs(1 / (1 - 0.85 * cmath.exp(-1j * t))) for t in causal["theta_1"]]
    )
    plane = data[data["mask"] == "Manhattan, γ = 0.6"]
    by_hand = [
        math.prod(0.64 / (1.36 - 1.2 * math.cos(t)) for t in pair)
        for pair in zip(plane["theta_1"], plane["theta_2"], strict=True)
    ]
    assert plane["sample"].tolist() == pytest.approx(by_hand)
    assert set(data["mask"]) >= {"two-sided decay", "Gaussian", "GPSA", "Euclidean, γ = 0.6", "GMM, α = 0.6, −0.8"}


def test_szego_distances_fall_like_one_over_n() -> None:
    data = table("szego")
    assert data["mask"].nunique() == 4
    for name, rows in data.drop_duplicates(["mask", "side"]).groupby("mask"):
        side, distance = rows["side"].to_numpy(float), rows["distance"].to_numpy()
        slope = np.polyfit(np.log(side[-3:]), np.log(distance[-3:]), 1)[0]
        assert -1.35 < slope < -0.9, name
        assert (np.diff(distance) < 0).all()
    shown = data[(data["mask"] == "two-sided decay, line") & data["value"].notna()]
    assert shown["value"].between(0.2 / 1.8, 1.8 / 0.2).all()
    assert "n^-1.00" in FIGURES["szego"].finding(data)


def test_eigenvalues_of_locality_and_extroversion() -> None:
    data = table("locality_extroversion")
    values = {p: rows["value"].to_numpy() for p, rows in data[data["quantity"] == "eigenvalue"].groupby("part")}
    assert (np.diff(values["sum"]) >= 0).all()
    assert values["locality"].min() >= -1e-12
    assert np.allclose(values["extroversion"], -0.8, atol=1e-4)
    assert np.allclose(values["sum"], values["locality"] - 0.8, atol=1e-4)
    assert "170 of 196 eigenvalues negative" in FIGURES["locality_extroversion"].finding(data)


def test_atlas_shows_every_mask_convolutions_first() -> None:
    data = table("mask_atlas")
    assert set(data["name"]) == set(ENTRIES)
    assert data["residual"].is_monotonic_increasing
    assert set(data["view"]) <= {"kernel", "mask"}
    assert f"{(data['residual'] == 0).sum()} of {len(data)} masks are convolutions" in FIGURES["mask_atlas"].finding(
        data
    )


def test_reach_by_depth_is_the_root_law_until_the_border() -> None:
    data = table("depth")
    reach = data[data["offset"].isna()].set_index(["layers", "depth"])
    for name, sigma in (("masks one after another", 1.5), ("with residual connections", 1.5 / math.sqrt(2))):
        for depth in (1, 2, 4, 8, 16, 32):
            row = reach.loc[(name, depth)]
            assert row["theory"] == pytest.approx(sigma * math.sqrt(depth), rel=1e-4)
            assert row["gradient"] == pytest.approx(row["on the grid"], rel=0.05 if depth > 8 else 2e-3)
    mixed = reach.loc["with channel mixing and GELU", "gradient"]
    assert mixed.loc[16] / mixed.loc[1] == pytest.approx(4, rel=0.15)
    profile = data[(data["layers"] == "masks one after another") & (data["depth"] == 4) & data["offset"].notna()]
    expected = [math.exp(-(o**2) / (2 * 4 * 1.5**2)) for o in profile["offset"]]
    assert profile["gradient"].tolist() == pytest.approx(expected, abs=2e-3)


def test_normalised_masks_have_residuals() -> None:
    data = table("normalisation_breaks_it")
    planes = data[data["panel"].str.contains("Gaussian")]
    assert (planes[planes["side"] > 2]["residual"] > 1e-5).all()
    assert (planes[planes["side"] == 2]["residual"] < 1e-12).all(), "four corners are alike"
    rows = data[(data["panel"].str.startswith("rows")) & (data["value"] == 1.0) & (data["side"] == 3)]
    g = np.exp(
        -0.5
        / (1 + 1e-5)
        * np.array([[(a // 3 - b // 3) ** 2 + (a % 3 - b % 3) ** 2 for b in range(9)] for a in range(9)])
    )
    mask = g / g.sum(axis=1, keepdims=True)
    means: dict[tuple[int, int], list[float]] = {}
    for q in range(9):
        for k in range(9):
            means.setdefault((k // 3 - q // 3, k % 3 - q % 3), []).append(mask[q, k])
    error = sum((v - sum(values) / len(values)) ** 2 for values in means.values() for v in values)
    assert float(rows["residual"].iloc[0]) == pytest.approx(math.sqrt(error / (mask**2).sum()))
    where = data[data["panel"] == "by query"].pivot(index="row", columns="column", values="residual").to_numpy(float)
    assert where.argmax() in (0, 15, 240, 255)
    assert np.allclose(where, where.T)
