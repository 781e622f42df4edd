"""The figures of approximation show what they say: bounds hold, closed forms are what is measured."""

import math

import pandas as pd
import pytest

from retconv.figures import FIGURES


def drawn(name: str) -> pd.DataFrame:
    """The table of a figure, with its finding formed."""
    _, data = FIGURES[name].draw()
    assert FIGURES[name].finding(data)
    return data


@pytest.fixture(scope="module")
def retention() -> pd.DataFrame:
    return drawn("gaussian_as_retention")


@pytest.fixture(scope="module")
def sizes() -> pd.DataFrame:
    return drawn("effective_size")


def test_law_16_errors_lie_between_hankel_value_and_certificate(retention: pd.DataFrame) -> None:
    errors = retention[retention["quantity"] == "error"]
    assert len(errors) == 10
    assert (errors["least_error"] <= errors["operator_norm_error"]).all()
    assert (errors["operator_norm_error"] <= errors["certificate"]).all()
    gaussian = errors[errors["kernel"].str.startswith("Gaussian")].set_index("order")["certificate"]
    assert gaussian[4] <= 1e-3
    assert (gaussian.diff().dropna() < 0).all()


def test_poles_are_inside_the_unit_disc_and_as_many_as_the_order(retention: pd.DataFrame) -> None:
    poles = retention[retention["quantity"] == "pole"]
    assert (poles["real"] ** 2 + poles["imaginary"] ** 2 < 1).all()
    assert (poles["imaginary"] >= 0).all()
    counts = poles.groupby(["kernel", "order"]).size().reset_index(name="count")
    assert (counts["count"] == counts["order"]).all()


def test_weights_of_the_kernel_are_the_closed_form(retention: pd.DataFrame) -> None:
    weights = retention[(retention["quantity"] == "weight") & (retention["order"] == 0)]
    for r in weights.itertuples():
        value = math.exp(-(r.offset**2) / (2 * (25 + 1e-5)))
        value -= 0.8 * math.exp(-(r.offset**2) / (2 * (2.25 + 1e-5))) if r.kernel.startswith("mixture") else 0.0
        assert r.value == pytest.approx(value, rel=1e-9)


def test_measured_sizes_are_sums_of_the_kernel(sizes: pd.DataFrame) -> None:
    """On a line, by the loop that the definition says."""
    measured = sizes[(sizes["source"] == "measured") & (sizes["axes"] == 1)]
    for r in measured[(measured["parameter"] < 3) & (measured["size"] < 200)].itertuples():
        d = range(400)
        weights = [
            r.parameter**m if r.family == "decay" else math.exp(-(m**2) / 2 / (r.parameter**2 + 1e-5)) for m in d
        ]
        mass = weights[0] + 2 * math.fsum(weights[1:])
        radius = next(k for k in d if 2 * math.fsum(weights[k + 1 :]) <= r.tolerance * mass)
        assert r.size == 2 * radius + 1


def test_closed_forms_meet_the_marks(sizes: pd.DataFrame) -> None:
    """At the parameters that curve and marks share; a Gaussian's closed form may be one step larger."""
    table = sizes.round({"parameter": 9}).pivot_table(
        index=["family", "axes", "tolerance", "parameter"], columns="source", values="size"
    )
    both = table[["closed form", "measured"]].dropna()
    gap = both["closed form"] - both["measured"]
    assert len(gap) >= 60
    assert gap.loc["decay"].eq(0).all()
    assert gap.loc["gaussian"].isin([0, 2]).all()
    vit = sizes[sizes["source"] == "on 14×14"]["size"]
    assert vit.max() == 27


def test_law_12_no_truncation_costs_more_than_its_certificate() -> None:
    data = drawn("truncation_certificate")
    assert (data["operator_norm_error"] <= data["certificate"]).all()
    assert set(data["family"]) == {"decay", "Gaussian", "signed mixture", "random"}
    assert (data["certificate"] > 0).mean() > 0.9
