"""The benchmark commands of training: what they print, never how fast anything is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from retconv import bench
from retconv.bench.__main__ import main
from retconv.bench.train import bench_beside


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


def test_shapes_are_raced_against_the_loop_in_each_precision(tmp_path: Path) -> None:
    out = tmp_path / "shapes.csv"
    settings = "--shape 8/1/2 --mask none --mask gmm --precision float32 --precision bfloat16 --batch 2 --rounds 1"
    result = CliRunner().invoke(main, ["train", *settings.split(), "--device", "cpu", "--out", str(out)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert list(table["contender"]) == ["hand-written loop", "none", "gmm"] * 2
    assert list(table["kind"]) == ["float32"] * 3 + ["bfloat16"] * 3
    assert list(table["speedup"][::3]) == [1, 1]
    assert (table[["gflops", "utilisation", "images_per_second"]] > 0).all(axis=None)


def test_two_runs_side_by_side_are_compared_with_one() -> None:
    [row] = bench_beside(["8/1/2"], ["gmm"], batch=2, rounds=1, seconds=0.1).to_dict("records")
    assert row["gain"] == pytest.approx(row["together"] / row["alone"])
    assert (row["model"], row["kind"], row["n"]) == ("8/1/2", "gmm", 1)


def test_side_by_side_is_of_a_shape() -> None:
    result = CliRunner().invoke(main, ["train", "--beside"])
    assert result.exit_code == 2
    assert "--beside has no effect on models: give --shape too" in result.output


def test_without_an_extra_its_benchmarks_say_so_and_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'filelock'", name="filelock")

    monkeypatch.setattr(bench.train, "bench", absent)
    refused = CliRunner().invoke(main, ["train", "--batch", "2"])
    assert refused.exit_code == 2
    assert "train needs filelock, which is not installed: pip install 'retconv[train]'" in refused.output
    assert CliRunner().invoke(main, ["operator", "--grid", "2", "--heads", "1", "--rounds", "1"]).exit_code == 0
