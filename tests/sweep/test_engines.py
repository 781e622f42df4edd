"""Studies over every engine: nothing finished is lost or repeated, and a worker that is killed is replaced."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

from retconv.results import Store
from retconv.sweep import Study, parse_study, sweep
from retconv.sweep.__main__ import main
from retconv.train import Config, RunFolder, train
from tests.train.small import BASE, few_digits, tiny

SHORT = BASE | {"schedule": {"epochs": 1, "warmup_epochs": 0}}
LONG = BASE | {"data": {"name": "digits", "validation": 0.8}, "schedule": {"epochs": 6, "warmup_epochs": 1}}


def study(folder: Path, base: dict = LONG, **values) -> Study:
    (folder / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    return parse_study({"recipe": "base.yaml", "grid": {"seed": [0, 1, 2]}, "stack": 1} | values, folder)


def kill_a_worker(root: Path, done: threading.Event, killed: list[int]) -> None:
    """Hold a process in the middle of its run; once another run is finished, kill it."""
    held = None
    while not done.wait(0.02):
        if held is None:
            held = next(filter(in_the_middle, root.glob("*/metrics.jsonl")), None)
        elif any(root.glob("*/result.json")):
            killed.append(process_of(held))
            os.kill(killed[0], signal.SIGKILL)
            return


def in_the_middle(metrics: Path) -> bool:
    """Whether a run is, and stays there: its process is held."""
    if metrics.read_bytes().count(b"\n") < 2:
        return False
    process, result = process_of(metrics), metrics.with_name("result.json")
    if result.exists():
        return False
    assert process != os.getpid(), "the run is not in a worker"
    os.kill(process, signal.SIGSTOP)
    if result.exists():
        os.kill(process, signal.SIGCONT)
    return not result.exists()


def process_of(metrics: Path) -> int:
    """Of the last session of a run."""
    return json.loads(metrics.with_name("provenance.jsonl").read_text(encoding="utf-8").splitlines()[-1])["process"]


@pytest.mark.parametrize("engine", ["loky", "dask", "ray"])
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_loses_nothing_and_its_run_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """A real worker is killed by SIGKILL in the middle of a run; the store is complete afterwards."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # its own, 15, would wait for whatever else the machine does
    plan = study(tmp_path, engine=engine, workers=2)
    store = Store(tmp_path / "runs")
    done, killed = threading.Event(), []
    killer = threading.Thread(target=kill_a_worker, args=(store.root, done, killed))
    killer.start()
    try:
        outcome = sweep(plan, store.root)
    finally:
        done.set()
        killer.join()
    assert killed, "no worker was in the middle of a run: make the runs longer"
    assert os.getpid() not in killed
    assert not outcome.failures
    assert sorted(outcome.finished) == sorted(config.id for config in plan.configs)
    frame = store.frame(plan.configs)
    assert sorted(frame["seed"]) == [0, 1, 2]
    assert frame["test_accuracy"].notna().all()
    sessions = store.provenance(plan.configs)
    victims = set(sessions.loc[sessions["process"].isin(killed), "run"])
    interrupted = sessions[sessions["run"].isin(victims)].groupby("run").size()
    assert interrupted.max() == 2
    assert set(store.metrics(plan.configs).groupby("run").size()) == {6}


def test_finished_runs_are_not_repeated_and_new_ones_are_added(tmp_path: Path) -> None:
    plan = study(tmp_path, SHORT, engine="serial", grid={"seed": [0, 1]})
    assert sweep(plan, tmp_path / "runs").rounds == 1
    more = study(tmp_path, SHORT, engine="serial", grid={"seed": [0, 1, 2]})
    assert [config.seed for config in Store(tmp_path / "runs").missing(more.configs)] == [2]
    assert len(sweep(more, tmp_path / "runs").finished) == 3
    assert sweep(more, tmp_path / "runs").rounds == 0
    assert len(Store(tmp_path / "runs").provenance()) == 3


def test_a_run_that_fails_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Also not its fellow replicas: a stack that fails is tried run by run."""
    lrs = {"optim.lr": [1e-3, float("inf")], "seed": [0, 1]}
    base = BASE | {"optim": {"name": "sgd"}, "schedule": {"epochs": 1, "warmup_epochs": 0, "min_lr": 0.0}}
    plan = study(tmp_path, base, engine="serial", grid=lrs, stack=0, retries=1)
    assert [len(unit) for unit in plan.units()] == [2, 2]
    outcome = sweep(plan, tmp_path / "runs")
    assert len(outcome.finished) == 2
    assert len(outcome.failures) == 2
    assert all("not finite" in fault for fault in outcome.failures.values())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), AttributeError("no such mask")])
def test_a_stack_that_fails_is_trained_run_by_run_and_stops_no_other(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it fails with, such as memory that it does not fit."""

    def scarce(configs: list[Config], *args: Any, **options: Any) -> list[RunFolder]:
        if len(configs) > 1:
            raise error
        return train(configs, *args, data=few_digits(), **options)

    monkeypatch.setattr("retconv.sweep.run.train", scarce)
    plan = study(tmp_path, SHORT, engine="serial", arms={"a": {}, "b": {"optim.lr": 2e-3}}, stack=0, retries=1)
    said: list[str] = []
    outcome = sweep(plan, tmp_path / "runs", said.append)
    assert len(outcome.finished) == 6
    assert not outcome.failures
    assert [line.partition(": ")[2] for line in said[:2]] == [f"{type(error).__name__}: {error}"] * 2


def test_slurm_jobs_run_through_submitit(tmp_path: Path) -> None:
    """As processes of this machine, submitit's ``local`` cluster."""
    slurm = {"cluster": "local", "timeout_min": 2}
    plan = study(tmp_path, SHORT, engine="slurm", slurm=slurm, stack=0)
    outcome = sweep(plan, tmp_path / "runs")
    assert not outcome.failures
    assert len(outcome.finished) == 3
    assert (Store(tmp_path / "runs").provenance()["replicas"] == 3).all()


def test_list_names_the_runs_and_what_is_missing(tmp_path: Path) -> None:
    plan = study(tmp_path, SHORT)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"recipe": "base.yaml", "grid": {"seed": [0, 1, 2]}, "engine": "serial"}))
    train(plan.configs[1], tmp_path / "runs", progress=False, device="cpu")
    arguments = [str(file), "--root", str(tmp_path / "runs")]
    listed = CliRunner().invoke(main, [*arguments, "--list"]).output
    assert f"{plan.configs[1].id}  finished  seed: 0 → 1" in listed
    assert f"{plan.configs[2].id}  missing   seed: 0 → 2" in listed
    assert "1 of 3 runs finished" in listed
    trained = CliRunner().invoke(main, arguments)
    assert trained.exit_code == 0, trained.output
    assert "3 of 3 runs finished" in trained.output


def test_help_and_options_teach() -> None:
    assert "engine: loky" in CliRunner().invoke(main, ["--help"]).output
    explained = CliRunner().invoke(main, ["--options"]).output
    assert all(
        key in explained for key in ("recipe", "grid", "workers", "gpus", "slurm", "[serial|loky|dask|ray|slurm]")
    )


def test_store_reads_runs_back_as_tidy_frames(tmp_path: Path) -> None:
    options = {"data": few_digits(), "device": "cpu", "progress": False}
    masked = replace(tiny(), model=replace(tiny().model, name="retconv_vit_tiny", options=SMALL))
    train([replace(masked, seed=seed) for seed in (0, 1)], tmp_path, **options)
    store = Store(tmp_path)
    frame = store.frame()
    assert len(frame) == 2
    assert {"run", "seed", "optim.lr", "model.options.mask", "test_accuracy", "test_loss", "parameters"} <= set(frame)
    assert list(store.metrics().groupby("run")["epoch"].apply(list)) == [[1, 2], [1, 2]]
    kernels = store.kernels()
    assert len(kernels) == 2 * 3 * 2 * 2 * 9  # runs, epochs with the start, masks, heads, offsets of 2×2 tokens
    assert sorted(kernels["offset_1"].unique()) == [-1, 0, 1]
    assert list(store.frame([replace(masked, seed=1)])["seed"]) == [1]


SMALL = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mask": "gmm"}


def test_store_leaves_out_what_is_not_the_run_that_it_is_named(tmp_path: Path) -> None:
    train(tiny(), tmp_path, data=few_digits(), device="cpu", progress=False)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.yaml").write_text("seed: 1\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text("sede: 1\n")
    store = Store(tmp_path)
    assert [run.path.name for run in store.runs()] == [tiny().id]
    assert list(store.damaged()) == [copy, other]
    assert Store(tmp_path / "nowhere").frame().empty


def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, tiny())
    with run.claimed(), pytest.raises(RuntimeError, match="another process"):
        train(tiny(), tmp_path, data=few_digits(), device="cpu", progress=False)
