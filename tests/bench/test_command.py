"""The benchmark commands: what they print and how they measure, never how fast anything is."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from retconv import bench
from retconv.attention import PLACEMENTS
from retconv.bench import commands
from retconv.bench.__main__ import main
from retconv.bench.timing import operand_bytes, peak_bytes, race
from retconv.grid import Grid
from retconv.memory import dense_limit
from retconv.operators import operator
from retconv.provenance import provenance


def test_operator_table_has_every_contender_and_its_provenance(tmp_path: Path) -> None:
    out = tmp_path / "operator.csv"
    result = CliRunner().invoke(
        main,
        ["operator", "--grid", "3x4", "--kind", "manhattan", "--channels", "4", "--rounds", "2", "--out", str(out)],
    )
    assert result.exit_code == 0, result.output
    assert f"# command: {provenance()['command']}\n" in result.output
    table = pd.read_csv(out)
    methods = ["dense", "direct", "fft", "toeplitz", "separable", "recursive"]
    assert sorted(table["contender"]) == sorted(["auto", *methods, "scipy fftconvolve", "scipy oaconvolve"])
    assert table["chosen"].isin(methods).all()
    assert {"commit", "torch", "processor", "threads", "allocator"} <= set(table.columns)
    assert (table["speedup_q1"] <= table["speedup_q3"]).all()
    assert not list(tmp_path.glob("*.tmp"))


def test_operator_beyond_the_dense_limit_is_raced_without_a_dense_mask() -> None:
    with dense_limit(12**2 * 4 - 1):
        table = bench.operator.bench([Grid((3, 4))], ("manhattan",), 1, 4, 2)
    assert "dense" not in set(table["contender"])
    assert (table.loc[table["contender"] == "auto", "speedup"] == 1).all()


def test_malformed_grid_is_named() -> None:
    result = CliRunner().invoke(main, ["operator", "--grid", "3by4"])
    assert result.exit_code == 2
    assert "3by4" in result.output


def test_race_gives_the_reference_a_speedup_of_one() -> None:
    table = race({"a": lambda: None, "b": lambda: sum(range(1000))}, rounds=3, reference="b").set_index("contender")
    assert table.loc["b", "speedup"] == 1.0
    assert table.loc["a", "n"] == 3


def test_a_floor_makes_no_contender_hopeless() -> None:
    def slow() -> None:
        time.sleep(2e-3)

    contenders = {"ours": slow, "other": slow, "floor": lambda: None}
    assert set(race(contenders, 3, "ours", floors=["floor"])["n"]) == {3}
    table = race(contenders, 3, "ours").set_index("contender")
    assert table.loc["other", "n"] == 1


def test_peak_counts_what_is_held_at_once() -> None:
    def run() -> torch.Tensor:
        a = torch.zeros(1000, dtype=torch.float32)
        b = a + 1
        del a
        return b.double()

    assert peak_bytes(run) == 4000 + 8000


def test_operand_counts_kernel_and_prepared_mask() -> None:
    kernel = torch.randn(1, 5)
    op = operator(kernel, 3, "dense")
    op @ torch.randn(1, 3, 2)
    assert operand_bytes(op) == pytest.approx(5 * 4 + 9 * 4)


def test_attention_table_has_every_contender_and_keeps_earlier_rows(tmp_path: Path) -> None:
    out = tmp_path / "attention.csv"
    options = ["attention", "--dim", "4", "--width", "8", "--batch", "1", "--rounds", "1", "--out", str(out)]
    for grid in ("3x4", "7"):
        result = CliRunner().invoke(main, [*options, "--grid", grid, "--append"])
        assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert list(table["grid"].unique()) == ["3×4", "7"]
    assert set(table["placement"]) == {"none", *PLACEMENTS}
    assert (table.loc[table["contender"] == "plain SDPA", "ratio"] == 1).all()
    assert (table["ratio_q1"] <= table["ratio_q3"]).all()
    assert (table["memory"] > 0).all()
    assert set(table["pass"]) == {"forward", "forward + backward"}


@pytest.mark.parametrize("name", main.commands)
def test_help_shows_each_example_on_a_line_of_its_own(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    examples = re.split(r"Examples?:\n", result.output)[1].partition("\n\n")[0].splitlines()
    assert all(line.strip().startswith(("retconv bench", "pip install")) for line in examples), examples


def test_choices_are_those_of_the_benchmarks() -> None:
    """A command lists them without importing what it runs."""
    assert [*commands.models.DTYPES] == [*bench.models.DTYPES]
    assert [*commands.steps.MASKS] == [*bench.steps.MASKS]
    assert [*commands.peers.PARTS] == [*bench.peers.PARTS, "starting"]
