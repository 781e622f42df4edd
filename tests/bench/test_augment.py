"""``retconv bench augment``: what it prints, never how fast anything is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from click.testing import CliRunner

from retconv.bench.__main__ import main


def test_augment_table_has_its_peers_and_its_provenance(tmp_path: Path) -> None:
    out = tmp_path / "augment.csv"
    arguments = [
        "augment",
        "--policy",
        "none",
        "--policy",
        "trivialaugment",
        "--batch",
        "4",
        "--size",
        "8",
        "--rounds",
        "1",
    ]
    result = CliRunner().invoke(main, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert len(table) == 6
    assert table["contender"].nunique() == 3
    assert set(table["kind"]) == {"none", "trivialaugment"}
    assert (table["images_per_s"] > 0).all()
    assert {"commit", "torch", "processor", "threads"} <= set(table.columns)
