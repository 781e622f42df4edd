"""The benchmark of the small models: what it prints and how it measures, never how fast anything is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from click.testing import CliRunner

from retconv.bench.__main__ import main


def test_every_setting_is_raced_against_the_plain_model(tmp_path: Path) -> None:
    out = tmp_path / "models.csv"
    options = ["--mode", "eager", "--dtype", "fp32", "--dtype", "bf16", "--pass", "train", "--pass", "forward"]
    masks = ["--mask", "gmm", "--mask", "manhattan"]
    run = ["models", "--model", "retconv_vit_d6", *options, *masks, "--batch", "2", "--rounds", "1", "--device", "cpu"]
    result = CliRunner().invoke(main, [*run, "--threads", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert {"commit", "processor", "threads", "allocator", "batch", "placement"} <= set(table.columns)
    settings = table.groupby(["dtype", "kind"])
    assert set(settings.groups) == {(dtype, kind) for dtype in ("fp32", "bf16") for kind in ("train", "forward")}
    assert all(list(rows["contender"]) == ["plain", "gmm", "manhattan"] for _, rows in settings)
    assert (table.loc[table["contender"] == "plain", "cost"] == 1).all()
    assert (table["cost_q1"] <= table["cost"]).all()
