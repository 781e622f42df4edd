"""``python -m retconv.bench retention``: what it prints and stores, never how fast anything is."""

from __future__ import annotations

import pandas as pd
import pytest
from click.testing import CliRunner

from retconv.bench import retention as bench_retention
from retconv.bench.__main__ import main
from retconv.bench.commands.retention import KINDS
from retconv.retention import METHODS
from retconv.stored import TABLES


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("bench") / "retention.csv"
    arguments = ["--length", "16", "--heads", "2", "--head-size", "4", "--rounds", "1"]
    result = CliRunner().invoke(main, ["retention", *arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return pd.read_csv(out)


def test_every_form_of_every_kind_is_raced(table: pd.DataFrame) -> None:
    forms = {
        "causal": {"parallel", "tiled", "recurrent", "chunkwise", "fft", "convolution"},
        "manhattan": {"parallel", "tiled", "scan", "fft", "convolution"},
        "gmm": {"parallel", "tiled", "fft", "convolution"},
    }
    for (kind, _), rows in table.groupby(["kind", "tokens"]):
        assert set(rows["contender"]) >= forms[str(kind)] | {"auto", bench_retention.GIVEN}
    assert {"commit", "torch", "processor", "threads", "allocator"} <= set(table.columns)


def test_errors_and_memory_are_measured(table: pd.DataFrame) -> None:
    measured = table.dropna(subset=["error32"])
    assert (measured["error32"] <= 1e-5).all()
    assert (measured["error64"].dropna() <= 1e-12).all()
    assert (table["mib"].dropna() > 0).all()  # of ours; a peer's is not measured
    assert table.loc[table["contender"].isin(METHODS), "mib"].notna().all()


def test_square_kinds_need_a_square_length() -> None:
    result = CliRunner().invoke(main, ["retention", "--kind", "gmm", "--length", "17", "--rounds", "1"])
    assert result.exit_code == 2
    assert "17 is no square, for instance 16 is" in result.output


def test_slow_contenders_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_retention, "SLOW", 0.0)
    found = bench_retention.bench([16], ("causal",), 2, 4, 2).set_index("contender")
    assert found.loc["chunkwise", "n"] == 1
    assert found.loc["parallel", "n"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_stored_results_are_of_this_command(kind: str) -> None:
    """What the figure reads was written by the benchmark, with its provenance."""
    stored = pd.read_csv(TABLES / f"retention_{kind}.csv")
    assert stored["command"].str.startswith(f"python -m retconv.bench retention --kind {kind}").all()
    assert set(stored["kind"]) == {kind}
    assert {256, 1024, 4096, 16384} <= set(stored["tokens"])
    assert not stored["commit"].str.contains("dirty").any()
