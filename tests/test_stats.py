"""Statistics over seeds against hand-computed values, scipy, and exhaustive enumeration."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from retconv.stats import compare, holm, interval, sign_flip_p, summarise
from tests.naive_stats import holm as naive_holm
from tests.naive_stats import mean_and_sd
from tests.naive_stats import sign_flip_p as naive_sign_flip_p

#: Accuracies in per cent have two decimals.
numbers = st.lists(st.integers(-10_000, 10_000).map(lambda n: n / 100), min_size=3, max_size=9)
whole = st.lists(st.integers(-6, 6), min_size=3, max_size=8)


def runs(**arms: list[float]) -> pd.DataFrame:
    """One arm a keyword, its seeds 0, 1, …; rows in an order that is not sorted."""
    rows = [{"arm": arm, "seed": seed, "accuracy": x} for arm, xs in arms.items() for seed, x in enumerate(xs)]
    return pd.DataFrame(rows).iloc[::-1].reset_index(drop=True)


def test_interval_by_hand() -> None:
    """1, 2, 3: mean 2, s = 1, t_{2, 0.975} = 4.302653 from a printed table."""
    low, high = interval([1.0, 2.0, 3.0])
    assert low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)


@given(values=numbers, confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_that_of_scipy(values: list[float], confidence: float) -> None:
    mean, sd = mean_and_sd(values)
    half = scipy_stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * sd / math.sqrt(len(values))
    if sd > 1e-9:
        expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(confidence)
        assert interval(values, confidence) == pytest.approx(tuple(expected), abs=1e-9)
    assert interval(values, confidence) == pytest.approx((mean - half, mean + half), abs=1e-9)


def test_interval_of_equal_values_is_a_point() -> None:
    assert interval([0.5, 0.5, 0.5, 0.5]) == (0.5, 0.5)


@settings(max_examples=60)
@given(differences=whole)
def test_sign_flip_p_by_enumeration(differences: list[int]) -> None:
    """Exactly, zeros and ties included; tenths, which are not exact in binary, count the same ties."""
    expected = float(naive_sign_flip_p(differences))
    assert sign_flip_p(differences) == expected
    assert sign_flip_p([difference / 10 for difference in differences]) == expected
    assert sign_flip_p([-difference for difference in differences]) == expected


@pytest.mark.parametrize(
    ("differences", "p"), [([1, 2, 3], 2 / 8), ([1, 1, 1, 1, 1], 2 / 32), ([3, -1, 2], 4 / 8), ([0, 0, 0], 1.0)]
)
def test_sign_flip_p_by_hand(differences: list[float], p: float) -> None:
    assert sign_flip_p(differences) == p


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 10))
def test_sign_flip_p_is_that_of_scipy(seed: int, n: int) -> None:
    """Normal numbers have no ties."""
    x = np.random.default_rng(seed).normal(0.5, 1, n)
    theirs = scipy_stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(x) == pytest.approx(theirs.pvalue, rel=1e-12)


def test_sign_flip_p_of_twenty_seeds() -> None:
    assert sign_flip_p(np.arange(1, 21)) == 2.0**-19


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_by_closed_testing(p: list[float]) -> None:
    np.testing.assert_allclose(holm(p), naive_holm(p), rtol=1e-14)


def test_holm_by_hand() -> None:
    """0.01 · 4, 0.02 · 3, then max(0.06, 0.03 · 2), then 0.04 · 1 raised to its predecessor's."""
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06], rtol=1e-14)


def test_summary_by_hand() -> None:
    table = summarise(runs(plain=[90.0, 91.0, 92.0], gmm=[93.0, 95.0, 94.0, 94.0]), "accuracy", ["arm"]).set_index(
        "arm"
    )
    assert list(table.columns) == ["n", "mean", "sd", "low", "high"]
    assert table.loc["plain", ["n", "mean", "sd"]].tolist() == [3, 91.0, 1.0]
    assert table.loc["gmm", ["n", "mean"]].tolist() == [4, 94.0]
    assert table.loc["gmm", "sd"] == pytest.approx(math.sqrt(2 / 3))
    assert table.loc["plain", "high"] - 91 == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 8))
def test_comparison_is_paired_by_seed(seed: int, n: int) -> None:
    """Against scipy's paired t test on columns that have been matched by hand."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(90, 3, n)
    gmm, elm = plain + rng.normal(1, 0.3, n), plain + rng.normal(0, 0.3, n)
    frame = runs(plain=plain.tolist(), gmm=gmm.tolist(), elm=elm.tolist()).sample(frac=1, random_state=seed)
    table = compare(frame, "accuracy", reference="plain").set_index("arm")
    assert set(table.index) == {"gmm", "elm"}
    for arm, values in (("gmm", gmm), ("elm", elm)):
        row, test = table.loc[arm], scipy_stats.ttest_rel(values, plain)
        assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-6)
        assert row["difference"] == pytest.approx(row["mean"] - row["mean_reference"], rel=1e-6)
        assert row["sd"] == pytest.approx(mean_and_sd((values - plain).tolist())[1], rel=1e-9)
        assert row["p"] == sign_flip_p(values - plain)
        assert row["n"] == n
        assert row["p_least"] == 2.0 ** (1 - n)
    np.testing.assert_array_equal(table["p_holm"], holm(table["p"]))


def test_comparison_within_data_sets_corrects_for_all_of_them() -> None:
    """Two data sets and two arms are four hypotheses; each data set has seeds of its own."""
    small = runs(plain=[1, 2, 3, 4, 5], gmm=[2, 3, 4, 5, 7], elm=[1, 3, 2, 5, 4]).assign(data="small")
    large = runs(plain=[1, 2, 3], gmm=[2, 4, 6], elm=[1, 1, 2]).assign(data="large")
    large["seed"] += 10
    table = compare(pd.concat([small, large]), "accuracy", "plain", within=["data"])
    assert table[["data", "n"]].to_numpy().tolist() == [["small", 5]] * 2 + [["large", 3]] * 2
    row = table[(table["data"] == "small") & (table["arm"] == "gmm")].iloc[0]
    assert row["p"] == 2 / 32
    assert row["p_holm"] == 4 * 2 / 32


def test_pairing_removes_what_a_seed_has_in_common() -> None:
    """Seeds that differ by tens of points leave a difference of exactly one in each."""
    table = compare(runs(plain=[10, 50, 90], gmm=[11, 51, 91]), "accuracy", "plain")
    row = table.iloc[0]
    assert (row["difference"], row["sd"], row["low"], row["high"]) == (1.0, 0.0, 1.0, 1.0)
