"""Rules decide as they were written: all three verdicts, on planted numbers."""

from __future__ import annotations

import statistics
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from retconv.stats import compare
from retconv.studies import decide, load_tables, verdicts, write_tables
from retconv.studies.rulings import markdown, readable, seed_values
from retconv.sweep import Rule, Study, parse_study

TIGHT = (0.98, 1.0, 1.02, 0.99, 1.01)
WIDE = (-2.0, 4.0, 1.0, -1.0, 3.0)


@pytest.mark.parametrize(
    ("values", "expect", "threshold", "verdict"),
    [
        (TIGHT, "above", 0.5, "supported"),
        (TIGHT, "above", 1.5, "refuted"),
        (TIGHT, "above", 1.0, "undecided at this n"),
        (WIDE, "above", 0.5, "undecided at this n"),
        (TIGHT, "below", 1.5, "supported"),
        (TIGHT, "below", 0.5, "refuted"),
        (WIDE, "below", 1.5, "undecided at this n"),
        (TIGHT, "within", 1.5, "supported"),
        (TIGHT, "within", 0.5, "refuted"),
        (tuple(-v for v in TIGHT), "within", 0.5, "refuted"),
        (TIGHT, "within", 1.0, "undecided at this n"),
        (WIDE, "within", 2.0, "undecided at this n"),
    ],
)
def test_every_expectation_has_three_verdicts(
    values: tuple[float, ...], expect: str, threshold: float, verdict: str
) -> None:
    assert decide(values, expect, threshold).verdict == verdict


@pytest.mark.parametrize("expect", ["above", "below", "within"])
@pytest.mark.parametrize("pair", [(87.3, 87.2), (57.4, 57.3), (0.3, 0.2)])
def test_seeds_that_agree_on_the_threshold_decide_nothing(pair: tuple[float, float], expect: str) -> None:
    """Their difference is 0.1, and rounding on either side of it."""
    assert decide([pair[0] - pair[1]] * 5, expect, 0.1).verdict == "undecided at this n"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=8),
    st.sampled_from(["above", "below", "within"]),
    st.floats(0, 3, exclude_min=True),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_a_verdict_follows_from_the_t_interval_by_hand(
    values: list[float], expect: str, threshold: float, confidence: float
) -> None:
    """On Python floats: the mean ± t s / √n, and where it lies."""
    mean, n = statistics.fmean(values), len(values)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * statistics.stdev(values) / n**0.5
    decision = decide(values, expect, threshold, confidence)
    assert (decision.n, decision.difference) == (n, pytest.approx(mean, abs=1e-9))
    assert (decision.low, decision.high) == (pytest.approx(mean - half, abs=1e-9), pytest.approx(mean + half, abs=1e-9))
    low, high = decision.low, decision.high
    wanted = {
        "above": (low > threshold, high < threshold),
        "below": (high < threshold, low > threshold),
        "within": (low > -threshold and high < threshold, low > threshold or high < -threshold),
    }[expect]
    assert decision.verdict == ("supported" if wanted[0] else "refuted" if wanted[1] else "undecided at this n")


@pytest.mark.parametrize(
    ("values", "expect", "threshold"),
    [(WIDE, "above", 0.5), (WIDE, "above", 2.0), (WIDE, "below", 3.5), (WIDE, "within", 2.0), (WIDE, "within", 0.2)],
)
def test_the_seeds_that_would_decide_are_the_fewest_by_trying(
    values: tuple[float, ...], expect: str, threshold: float
) -> None:
    """From three on: the interval of that mean and spread no longer holds a threshold, and before it did."""
    decision = decide(values, expect, threshold)
    ends = (-threshold, threshold) if expect == "within" else (threshold,)
    mean, sd = statistics.fmean(values), statistics.stdev(values)

    def decides(n: int) -> bool:
        half = stats.t.ppf(0.975, n - 1) * sd / n**0.5
        return all(abs(mean - end) > half for end in ends)

    assert decision.sd == pytest.approx(sd)
    assert decision.needed == next(n for n in range(3, 1000) if decides(n))


def test_a_value_at_its_threshold_is_decided_by_no_number_of_seeds() -> None:
    assert decide((1.0, 2.0, 3.0), "above", 2.0).needed is None
    assert decide((1.0, 1.0, 1.0), "above", 2.0).needed == 3


def test_more_confidence_never_decides_more() -> None:
    for threshold in (0.9, 0.95, 1.05):
        sure, surer = (decide(TIGHT, "above", threshold, confidence).verdict for confidence in (0.9, 0.9999))
        assert surer in (sure, "undecided at this n")


def planted(folder: Path, **arms: tuple[float, ...]) -> Path:
    """A table of runs of study toy: an arm's accuracy by seed, at two data sizes, half as far apart at the larger."""
    rows = [
        {"study": "toy", "arm": arm, "seed": seed, "fraction": f, "test_accuracy": 90 + value * scale, "scale": "small"}
        for arm, values in arms.items()
        for f, scale in ((0.1, 1.0), (1.0, 0.5))
        for seed, value in enumerate(values)
    ]
    write_tables({"study_toy": pd.DataFrame(rows)}, folder)
    return folder


def toy(*rules: dict, seeds: int = 5) -> Study:
    arms = {"plain": {"batch_size": 16}, "masked": {}, "absent": {"batch_size": 8}}
    said = [{"claim": "So."} | r for r in rules]
    grid = {"seed": list(range(seeds))}
    study = {"recipe": "smoke", "arms": arms, "grid": grid, "rules": said, "mask_tables": "study"}
    return parse_study(study, name="toy")


def test_planted_tables_give_their_verdicts(tmp_path: Path) -> None:
    """A difference of about 1 point on a tenth of the data, and of half a point on all."""
    folder = planted(tmp_path, plain=(0.0, 0.1, 0.2, 0.3, 0.4), masked=(0.98, 1.1, 1.22, 1.29, 1.41))
    pair = {"arm": "masked", "against": "plain", "at": {"fraction": 0.1}}
    study = toy(
        pair | {"threshold": 0.5},
        pair | {"expect": "below", "threshold": 0.5},
        pair | {"threshold": 1.0},
        pair | {"versus": {"fraction": 1.0}, "threshold": 0.3},
        {"arm": "plain", "at": {"fraction": 1.0}, "threshold": 80},
        pair | {"arm": "absent"},
        pair | {"table": "study_nowhere"},
    )
    table = verdicts(folder, [study])
    assert list(table["verdict"]) == [
        *("supported", "refuted", "undecided at this n", "supported", "supported", "not run", "not run")
    ]
    assert list(table["difference"][:4]) == pytest.approx([1.0, 1.0, 1.0, 0.5])
    assert list(table["n"][:4]) == [5, 5, 5, 5]
    assert set(table["scale"][:5]) == {"small"}
    assert table["at"][0] == "fraction=0.1"
    assert "supported: +1.00 [" in readable(table)


def test_alpha_is_shared_by_the_rules_that_read_one_table(tmp_path: Path) -> None:
    pair = {"arm": "masked", "against": "plain"}
    study = toy(pair, pair | {"threshold": 1}, pair | {"table": "study_elm"})
    assert list(verdicts(tmp_path, [study])["confidence"]) == pytest.approx([0.975, 0.975, 0.95])


def test_nothing_is_decided_before_all_seeds_are_there(tmp_path: Path) -> None:
    """What the seeds so far say is told, with how many would decide; those that one arm lacks take no part."""
    folder = planted(tmp_path, plain=(0.0, 0.1, 0.2), masked=(1.0, 1.12, 1.21, 1.33))
    rule = {"arm": "masked", "against": "plain", "at": {"fraction": 0.1}, "threshold": 0.5}
    (row,) = verdicts(folder, [toy(rule)]).to_dict("records")
    assert (row["verdict"], row["n"], row["planned"], row["needed"]) == ("not finished", 3, 5, 3)
    assert row["difference"] == pytest.approx(1.01)
    (row,) = verdicts(folder, [toy(rule, seeds=3)]).to_dict("records")
    assert row["verdict"] == "supported"
    text = readable(verdicts(folder, [toy(rule)]))
    assert "not finished, 3 of 5 seeds: +1.01 [" in text
    assert "3 seeds would support it" in text


def test_a_seed_whose_runs_are_not_all_there_has_no_value_yet(tmp_path: Path) -> None:
    """A rule that fixes no data size averages over all: an arm on one size is not held against another on two."""
    rule = {"claim": "So.", "arm": "masked", "against": "plain"}
    grid = {"data.fraction": [0.1, 1.0], "seed": [0, 1, 2]}
    arms = {"plain": {"batch_size": 16}, "masked": {}}
    study = parse_study({"recipe": "smoke", "arms": arms, "grid": grid, "rules": [rule]}, name="toy")
    whole = load_tables(planted(tmp_path, plain=(0.0, 0.1, 0.2), masked=(1.0, 1.12, 1.21)))["study_toy"]
    (row,) = verdicts(tmp_path, [study]).to_dict("records")
    assert (row["n"], row["verdict"]) == (3, "supported")
    for lacking, n, verdict in ((whole["seed"] == 1, 2, "not finished"), (whole["seed"] >= 0, 0, "not run")):
        part = whole[~(lacking & (whole["arm"] == "plain") & (whole["fraction"] == 1.0))]
        write_tables({"study_toy": part}, tmp_path)
        (row,) = verdicts(tmp_path, [study]).to_dict("records")
        assert (row["n"], row["verdict"]) == (n, verdict)


def test_more_seeds_than_the_exact_test_takes_are_decided(tmp_path: Path) -> None:
    """As many as an undecided rule may ask for: that test is information, and then missing."""
    many = tuple(float(seed % 3) for seed in range(24))
    folder = planted(tmp_path, plain=(0.0,) * 24, masked=many)
    rule = {"arm": "masked", "against": "plain", "at": {"fraction": 0.1}, "threshold": 0.5}
    (row,) = verdicts(folder, [toy(rule, seeds=24)]).to_dict("records")
    assert (row["n"], row["verdict"]) == (24, "supported")
    assert pd.isna(row["p"])
    runs = load_tables(folder)["study_toy"].query("fraction == 0.1")
    third = runs[(runs["arm"] == "plain") & (runs["seed"] < 8)]
    both = pd.concat([runs.assign(set="many"), third.assign(set="few"), third.assign(set="few", arm="masked")])
    compared = compare(both, "test_accuracy", "plain", within=["set"])
    assert compared["p"].isna().tolist() == compared["p_holm"].isna().tolist() == [True, False]
    assert compared["p_holm"][1] == 1.0


def test_two_seeds_have_no_interval_yet(tmp_path: Path) -> None:
    folder = planted(tmp_path, plain=(0.0, 0.1), masked=(1.0, 1.12))
    table = verdicts(folder, [toy({"arm": "masked", "against": "plain"})])
    assert table[["verdict", "n"]].to_numpy().tolist() == [["not finished", 2]]
    assert "not finished, 2 of 5 seeds" in readable(table)
    assert "| So. | – | above 0 | 2 of 5 | not finished |" in markdown(table)


@pytest.mark.parametrize(
    ("expect", "threshold", "words"),
    [
        *(("above", 1.5, "refute"), ("above", 0.5, "support"), ("below", 1.5, "support"), ("below", 0.5, "refute")),
        *(("within", 1.5, "support"), ("within", 0.5, "refute")),
    ],
)
def test_an_open_rule_is_told_with_the_side_on_which_its_mean_is(
    tmp_path: Path, expect: str, threshold: float, words: str
) -> None:
    folder = planted(tmp_path, plain=(0.0,) * 5, masked=WIDE)
    rule = {"arm": "masked", "against": "plain", "at": {"fraction": 0.1}, "threshold": threshold, "expect": expect}
    table = verdicts(folder, [toy(rule)])
    assert table["verdict"][0] == "undecided at this n"
    assert readable(table).endswith(f" {table['needed'][0]:.0f} seeds would {words} it")


def test_an_undecided_rule_says_what_would_decide_it_as_text_and_markdown(tmp_path: Path) -> None:
    folder = planted(tmp_path, plain=(0.0,) * 5, masked=WIDE)
    rule = {"arm": "masked", "against": "plain", "at": {"fraction": 0.1}, "threshold": 0.5}
    table = verdicts(folder, [toy(rule)])
    count = int(table["needed"][0])
    assert readable(table).endswith(
        f"undecided at this n: +1.00 [-2.17, +4.17], n = 5, above 0.5 expected; small; {count} seeds would support it"
    )
    assert (
        f"| +1.00 [-2.17, +4.17] | above 0.5 | 5 of 5 | undecided at this n; {count} seeds would support it |"
        in markdown(table)
    )


def test_rows_of_one_seed_are_averaged() -> None:
    """As over layers; and what is asked for is found among numbers, words and truth values alike."""
    table = pd.DataFrame(
        {
            "arm": "elm", "seed": [0, 0, 0, 1, 1, 1], "layer": ["0", "1", "all"] * 2, "last": True,
            "k": [1.0, 3.0, None] * 2, "convolution": [0.2, 0.4, 9.0, 0.5, 0.7, 8.0],
        }
    )  # fmt: skip
    rule = Rule(claim="So.", arm="elm", metric="convolution")
    means = {"layer": 0}, {"layer": "all", "last": True}, {"k": 3}, {"last": True}, {"last": False}
    values = [seed_values(Rule(**vars(rule) | {"at": at}), table).tolist() for at in means]
    assert values == [[0.2, 0.5], [9.0, 8.0], [0.4, 0.7], pytest.approx([3.2, 9.2 / 3]), []]


def test_a_point_at_no_value_is_found_in_a_table_that_was_read(tmp_path: Path) -> None:
    """``null`` of a study file is an empty cell there."""
    rule = Rule("So.", "a", at={"flip": None})
    pd.DataFrame({"arm": "a", "seed": [0, 0], "flip": [None, 0.5], "test_accuracy": [1.0, 2.0]}).to_csv(
        tmp_path / "table.csv"
    )
    table = pd.read_csv(tmp_path / "table.csv")
    assert seed_values(rule, table, {"flip": [None, 0.5]}).to_dict() == {0: 1.0}


def test_without_tables_nothing_is_decided(tmp_path: Path) -> None:
    table = verdicts(tmp_path)
    assert set(table["verdict"]) == {"not run"}
    assert len(table) > 25


def test_small_and_full_runs_are_never_averaged(tmp_path: Path) -> None:
    """Of a table that holds both, the full ones decide."""
    folder = planted(tmp_path, plain=(0.0, 0.1, 0.2), masked=(1.0, 1.12, 1.21))
    small = load_tables(folder)["study_toy"]
    shift = 10.0 * (small["arm"] == "masked")
    full = small.assign(scale="full", test_accuracy=small["test_accuracy"] + shift)
    write_tables({"study_toy": pd.concat([small, full])}, folder)
    (row,) = verdicts(folder, [toy({"arm": "masked", "against": "plain", "at": {"fraction": 0.1}}, seeds=3)]).to_dict(
        "records"
    )
    assert (row["n"], row["scale"]) == (3, "full")
    assert row["difference"] == pytest.approx(11.01)


def test_the_name_of_a_run_stays_text(tmp_path: Path) -> None:
    names = ["0012345678901234", "12e3456789012345", "ab12345678901234"]
    write_tables({"study_toy": pd.DataFrame({"run": names[:1]}), "study_other": pd.DataFrame({"run": names})}, tmp_path)
    tables = load_tables(tmp_path)
    assert list(tables["study_toy"]["run"]) == names[:1]
    assert list(tables["study_other"]["run"]) == names
