"""The benchmark commands of the analysis: what they print and store, never how fast anything is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from retconv.bench import describe
from retconv.bench.__main__ import main


def test_spectrum_table_has_errors_against_known_values(tmp_path: Path) -> None:
    out = tmp_path / "spectrum.csv"
    arguments = ["spectrum", "--grid", "5x6", "--grid", "33x34", "--kind", "manhattan", "--values", "4"]
    result = CliRunner().invoke(main, [*arguments, "--rounds", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert set(table["contender"]) == {"operator", "dense mask, scipy svds"}
    assert (table["error"] <= 1e-8).all()
    assert table["dense_mib"].max() == pytest.approx(1122**2 * 8 / 2**20)
    assert {"commit", "processor"} <= set(table.columns)


def test_describe_table_starts_each_command_and_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(describe, "_start", started.append)
    result = CliRunner().invoke(main, ["describe", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert ["-c", describe.TORCH] in started
    assert ["-m", "retconv.describe", *describe.COMMANDS["gmm"].split()] in started
    assert all(name in result.output for name in describe.COMMANDS)
