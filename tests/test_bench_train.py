"""The benchmark commands of training: what they print, never how fast anything is."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from click.testing import CliRunner

from retconv.bench.__main__ import main


def test_train_table_has_replicas_peer_and_shares(tmp_path: Path) -> None:
    out = tmp_path / "train.csv"
    settings = "--model retconv_vit_tiny --mask gmm --replicas 2 --batch 2 --rounds 1 --threads 1 --device cpu"
    arguments = settings.split()
    result = CliRunner().invoke(main, ["train", *arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out).set_index("contender")
    assert list(table.index) == ["1 replica", "2 replicas", "DataLoader, torchvision v2"]
    assert list(table["replicas"]) == [1, 2, 1]
    assert table["data_share"].between(0, 1.5).all()
    assert (table["utilisation"] > 0).all()
    rate = 1e3 * table["batch"] * table["replicas"] / table["ms"]
    assert list(table["images_per_second"]) == pytest.approx(list(rate))
    assert {"commit", "torch", "processor", "threads", "device"} <= set(table.columns)


def test_help_of_resume_says_what_is_compared() -> None:
    result = CliRunner().invoke(main, ["resume", "--help"])
    assert result.exit_code == 0
    assert "compare every bit with an undisturbed run" in " ".join(result.output.split())


def test_without_an_extra_its_benchmarks_say_so_and_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        if name == "retconv.bench.train":
            raise ModuleNotFoundError("No module named 'filelock'", name="filelock")
        return import_module(name)

    monkeypatch.setattr("importlib.import_module", absent)
    listed = CliRunner().invoke(main, ["--help"]).output
    assert "Not available: needs filelock" in listed
    assert "M @ x by every method" in listed
    refused = CliRunner().invoke(main, ["train", "--batch", "2"])
    assert refused.exit_code == 1
    assert "train needs filelock, which is not installed: pip install 'retconv[train]'" in refused.output
