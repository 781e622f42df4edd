"""``python -m retconv.bench retention``: what it prints and stores, never how fast anything is."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from retconv.bench import retention as bench_retention
from retconv.bench.__main__ import main
from retconv.bench.commands.retention import KINDS
from retconv.bench.peers.public import peers
from retconv.masks import RetNetMask
from retconv.retention import retention
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
    assert (table["mib"] > 0).all()


def test_square_kinds_need_a_square_length() -> None:
    result = CliRunner().invoke(main, ["retention", "--kind", "gmm", "--length", "17", "--rounds", "1"])
    assert result.exit_code == 2
    assert "17 is no square, for instance 16 is" in result.output


def test_slow_contenders_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_retention, "SLOW", 0.0)
    found = bench_retention.bench([16], ("causal",), 2, 4, 2).set_index("contender")
    assert found.loc["chunkwise", "n"] == 1
    assert found.loc["parallel", "n"] == 2


def test_peers_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("yet_another_retnet", "yet_another_retnet.retention", "torchscale", "torchscale.architecture.retnet"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    assert peers(*torch.randn(3, 1, 2, 8, 8)) == {}


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
def test_installed_peer_computes_the_same(form: str) -> None:
    """yet-another-retnet's forms on the bench's causal problem, where it is installed."""
    pytest.importorskip("yet_another_retnet", reason="an optional peer of the benchmark")
    q, k, v = torch.randn(3, 1, 4, 128, 8)
    result = peers(q, k, v)[f"yet-another-retnet {form}"]()
    actual = result[0] if isinstance(result, tuple) else result
    assert isinstance(actual, Tensor)
    assert torch.allclose(actual, retention(q, k, v, RetNetMask(4, "retnet_linspace"), 128), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_results_are_of_this_command(kind: str) -> None:
    """What the figure reads was written by the benchmark, with its provenance."""
    stored = pd.read_csv(TABLES / f"retention_{kind}.csv")
    assert stored["command"].str.startswith(f"python -m retconv.bench retention --kind {kind}").all()
    assert set(stored["kind"]) == {kind}
    assert {256, 1024, 4096, 16384} <= set(stored["tokens"])
    assert not stored["commit"].str.contains("dirty").any()
