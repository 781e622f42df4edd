"""Training stops at a checkpoint when the time is up or somebody says so, and goes on from there."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner

from retconv.results import Store
from retconv.sweep import engines, load_study, parse_study, sweep
from retconv.sweep.__main__ import main as sweep_main
from retconv.train import Budget, Config, DivergedError, RunFolder, Trainer, checkpoint, train
from retconv.train.__main__ import main
from retconv.train.budget import Pace
from retconv.train.config import OptimConfig, ScheduleConfig
from retconv.train.flat import shares
from tests.train.killing import same_numbers, same_weights
from tests.train.small import BASE, few_digits, tiny

ROOT = Path(__file__).parents[2]
LONG = tiny(schedule=ScheduleConfig(epochs=100_000, warmup_epochs=1))
#: What a run of such length takes at least, so that only a signal or a budget ends it.
FOREVER = BASE | {"schedule": {"epochs": 100_000, "warmup_epochs": 1}}


def run(config: Config, root: Path, **options) -> RunFolder:
    return train(config, root, data=few_digits(), device="cpu", progress=False, **options)[0]


def test_checkpoints_come_by_time_and_after_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at each epoch's end: epochs may take less time than saving does."""
    saved: list[int] = []
    monkeypatch.setattr(RunFolder, "save", lambda self, state: saved.append(state["step"]))
    run(tiny(), tmp_path / "rarely")
    assert saved == [8]
    saved.clear()
    run(tiny(), tmp_path / "always", checkpoint_seconds=0.0)
    assert saved == list(range(1, 9))


class Questions(Budget):
    """Time that is up once it was asked for so often."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def left(self) -> float:
        self.count -= 1
        return math.inf if self.count >= 0 else 0.0


def test_a_budget_ends_training_at_a_checkpoint_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slots of a run that would take hours."""
    steps = []
    for _ in range(2):
        monkeypatch.setattr(Pace, "setup", 0.1)
        until = time.time() + 4
        found = run(LONG, tmp_path, budget=Budget(until))
        assert time.time() < until
        assert not found.finished
        steps.append(checkpoint.saved_steps(found.path)[-1])
    assert 0 < steps[0] < steps[1]


def test_what_a_budget_ended_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    config = tiny(ema=0.9)
    for count in (5, 4):
        found = run(config, tmp_path / "slots", budget=Questions(count))
        assert not found.finished
    found, whole = run(config, tmp_path / "slots"), run(config, tmp_path / "whole")
    assert [session["from_step"] for session in found.provenance()] == [0, 3, 5]
    assert same_weights(found, whole)
    assert same_numbers(found, whole)


def test_nothing_is_begun_that_could_not_reach_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the last session of this process took, or a guess, larger where compiling comes first."""
    monkeypatch.setattr(Pace, "setup", 10.0)
    found = run(tiny(), tmp_path, budget=Budget(until=time.time() + 14))
    assert not found.path.exists()
    monkeypatch.setattr(Pace, "setup", None)
    assert Pace.starting(True) > Pace.starting(False) > 0


def test_no_time_for_the_test_leaves_the_last_step_as_a_checkpoint(tmp_path: Path) -> None:
    """The next slot has only to test."""
    budget = Budget()

    def spend(trainer: Trainer) -> None:
        budget.told = trainer.done == trainer.total

    found = run(tiny(), tmp_path, budget=budget, on_step=spend)
    assert not found.finished
    assert checkpoint.saved_steps(found.path) == [8]
    found = run(tiny(), tmp_path)
    assert found.provenance()[-1]["from_step"] == 8
    assert same_numbers(found, run(tiny(), tmp_path / "whole"))


def started(root: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    """A command in a process of its own, once its run has begun."""
    command = [sys.executable, "-m", module, *arguments, "--root", str(root)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which the background jobs of a shell ignore
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, preexec_fn=heeding, **pipes)
    while process.poll() is None and not any(run.metrics() for run in Store(root).runs()):
        time.sleep(0.05)
    return process


def test_a_signal_to_a_command_saves_a_checkpoint_first(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(LONG.as_dict()), encoding="utf-8")
    root = tmp_path / "runs"
    process = started(root, "retconv.train", "--recipe", str(recipe), "--device", "cpu")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3, said
    (step,) = checkpoint.saved_steps(RunFolder(root, LONG).path)
    assert f"seed 0: stopped at the checkpoint of step {step}" in said
    assert said.endswith("0 of 1 runs finished; the same command goes on\n")


def study(folder: Path, base: dict, **values) -> Path:
    (folder / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    (folder / "study.yaml").write_text(
        yaml.safe_dump({"recipe": "base.yaml", **values}, sort_keys=False), encoding="utf-8"
    )
    return folder / "study.yaml"


@pytest.mark.parametrize(("engine", "begun"), [("serial", 1), ("loky", 2)])
def test_a_signal_to_a_sweep_reaches_its_workers(tmp_path: Path, engine: str, begun: int) -> None:
    file = study(tmp_path, FOREVER, grid={"seed": [0, 1, 2]}, stack=1, engine=engine, workers=2)
    root = tmp_path / "runs"
    process = started(root, "retconv.sweep", str(file))
    while sum(bool(run.metrics()) for run in Store(root).runs()) < begun:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 3, said
    assert said.count("stopped at step") == begun
    assert said.count("not begun") == 3 - begun
    assert said.endswith(f"0 of 3 runs finished in {root}, 3 left: the same command goes on\n")
    assert not list(root.glob(".stop-*"))


def test_a_sweep_spends_its_budget_on_the_first_arms_and_the_next_slot_goes_on(tmp_path: Path) -> None:
    base = BASE | {"schedule": {"epochs": 1, "warmup_epochs": 0}}
    arms = {"second": {"smoothing": 0.2}, "first": {"smoothing": 0.0}}
    plan = load_study(study(tmp_path, base, arms=arms, priority=["first"], engine="serial"))
    second, first = (RunFolder(tmp_path / "runs", config) for config in plan.configs)
    outcome = sweep(plan, tmp_path / "runs", budget=Questions(10))
    assert set(outcome.left) == {config.id for config in plan.configs}
    assert not outcome.failures
    assert checkpoint.saved_steps(first.path)
    assert not second.path.exists()
    assert len(sweep(plan, tmp_path / "runs").finished) == 2
    assert len(first.provenance()) == 2


def test_too_short_a_budget_starts_no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load_study(study(tmp_path, BASE, engine="loky"))
    monkeypatch.setattr("joblib.Parallel", None)
    outcome = sweep(plan, tmp_path / "runs", budget=Budget(time.time() + 5))
    assert (len(outcome.left), outcome.failures, outcome.rounds) == (1, {}, 0)


def test_priority_and_stack_say_what_is_trained_together_and_first() -> None:
    study = parse_study(
        {
            "recipe": "smoke",
            "arms": {"a": {"seed": 0}, "b": {"smoothing": 0.0}, "c": {"smoothing": 0.2}},
            "grid": {"seed": list(range(5))},
            "priority": ["c", "b"],
            "stack": 2,
        }
    )
    order = [(study.arm_of[unit[0].id], [config.seed for config in unit]) for unit in study.units()]
    seeds = ([0, 1], [2, 3], [4])
    assert order == [(arm, some) for some in seeds for arm in "cb"] + [("a", some) for some in seeds]
    assert len(replace(study, stack=0).units()) == 3
    assert len(replace(study, stack=1).units()) == 15


def test_the_serial_engine_needs_no_joblib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has none of the engines' packages; any other engine is refused by name."""
    assert not {"joblib", "loky", "dask", "ray", "submitit"} & vars(engines).keys()
    for name in ("joblib", "loky", "dask", "ray", "submitit"):
        monkeypatch.setitem(sys.modules, name, None)
    file = study(tmp_path, BASE, workers=2)
    for engine, code, said in (("serial", 3, "0 of 1 runs finished"), ("loky", 2, "engine loky needs joblib")):
        arguments = [str(file), "--engine", engine, "--budget", "0.01", "--root", str(tmp_path / "runs")]
        result = CliRunner().invoke(sweep_main, arguments)
        assert result.exit_code == code, result.output
        assert said in result.output


def test_budget_of_the_commands(tmp_path: Path) -> None:
    for command, name in ((main, ["--recipe", "smoke"]), (sweep_main, ["digits"])):
        result = CliRunner().invoke(command, [*name, "--budget", "0.01", "--root", str(tmp_path)])
        assert result.exit_code == 3, result.output
        assert "the same command goes on" in result.output.splitlines()[-1]
        assert "--budget" in CliRunner().invoke(command, ["--help"]).output


def test_whatever_a_step_throws_divergence_is_named(tmp_path: Path) -> None:
    """Weights that are not finite make all sorts of errors; an error beside finite weights stays what it is."""

    def poison(trainer: Trainer) -> None:
        if trainer.done == 3:
            trainer.replicas.packs[0].matrix.data[0].fill_(float("nan"))
            trainer.step = broken  # type: ignore[method-assign]

    def broken() -> None:
        raise ValueError("sigma must be finite")

    with pytest.raises(DivergedError, match=r"diverged: .*seed 0 is not finite at step 3 .*the checkpoint of step 2"):
        run(tiny(), tmp_path / "poisoned", checkpoint_every=2, on_step=poison)
    with pytest.raises(ValueError, match="sigma must be finite"):
        run(tiny(), tmp_path / "sound", on_step=lambda trainer: setattr(trainer, "step", broken))


def test_a_command_that_diverges_says_so_in_a_line(tmp_path: Path) -> None:
    """The recipe for everybody's first try."""
    arguments = ["--recipe", "smoke", "--set", "optim.lr=1e30", "--root", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "training diverged: the loss or a weight of seed 0 is not finite at step" in result.output


def test_a_share_is_one_storage_for_each_dtype_and_holds_no_other_replica() -> None:
    trainer = Trainer([tiny(ema=0.9, optim=OptimConfig(), seed=seed) for seed in range(3)], few_digits())
    trainer.step()
    states = trainer.states()
    for i, state in enumerate(states):
        tensors = [*state["model"].values(), *state["ema"].values()]
        tensors += [value for kept in state["optimiser"].values() for value in kept.values()]
        assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len({t.dtype for t in tensors})
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
        assert sum(storage.nbytes() for storage in storages.values()) == sum(tensor.nbytes for tensor in tensors)
        assert all(torch.equal(v, trainer.replicas.model.state_dict()[n][i]) for n, v in state["model"].items())
    assert shares({"empty": {}}, 2) == [{"empty": {}}] * 2
