"""Exact resume: a run killed at any instant and resumed has the bits of one that was not."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from retconv.data import Dataset
from retconv.train import Config, DivergedError, RunFolder, Trainer, TrainError, checkpoint, train
from retconv.train.config import DataConfig, OptimConfig, ScheduleConfig
from retconv.train.files import append_line, in_memory, write_whole
from retconv.train.recorded import read_lines
from tests.train.killing import killed_and_resumed, same_numbers, same_weights
from tests.train.small import few_digits, tiny

#: Everything that resuming must carry: moving average, best weights, clipping, mixing, drop path.
RICH = tiny(ema=0.9, select="best", optim=OptimConfig(clip=1.0))


class Stop(Exception):
    """Thrown into a run to end it."""


def stop_at(step: int):
    def check(trainer: Trainer) -> None:
        if trainer.done == step:
            raise Stop

    return check


def run(config: Config, root: Path, **options) -> RunFolder:
    return train(config, root, data=few_digits(), device="cpu", progress=False, **options)[0]


def test_killed_at_random_instants_and_resumed_the_bits_are_the_same(tmp_path: Path) -> None:
    """SIGKILL, three times."""
    for resumed, whole in killed_and_resumed(tiny(ema=0.9), kills=3, seed=1, folder=tmp_path):
        assert same_weights(resumed, whole)
        assert same_numbers(resumed, whole)


def test_a_run_that_another_process_finishes_meanwhile_is_not_repeated(tmp_path: Path, monkeypatch) -> None:
    """While the data are loaded, before it is claimed."""

    def slow(name: str) -> Dataset:
        run(tiny(), tmp_path)
        return few_digits()

    monkeypatch.setattr("retconv.train.run.load", slow)
    (folder,) = train(tiny(), tmp_path, device="cpu", progress=False)
    assert folder.finished
    assert len(folder.provenance()) == 1


@pytest.mark.parametrize("optimiser", ["adamw", "nadamw", "lion", "sgd", "momentum"])
def test_resuming_from_any_position_is_exact(tmp_path: Path, optimiser: str) -> None:
    """From within an epoch, from its end, and from before the first checkpoint."""
    config = replace(RICH, optim=OptimConfig(name=optimiser, lr=1e-3, clip=1.0))
    whole = run(config, tmp_path / "whole")
    for step in (1, 3, 4, 7):
        with pytest.raises(Stop):
            run(config, tmp_path / str(step), checkpoint_every=2, on_step=stop_at(step))
        resumed = run(config, tmp_path / str(step))
        assert same_weights(resumed, whole)
        assert same_numbers(resumed, whole)
        assert resumed.provenance()[-1]["from_step"] == step - step % 2


def test_the_best_accuracy_of_an_earlier_epoch_is_resumed_to_the_last_bit(tmp_path: Path) -> None:
    """Of 41 images, a share of which is no number of float32; with a rate of 0 the first epoch stays the best."""
    still = {"optim": OptimConfig(name="sgd", lr=0.0), "schedule": ScheduleConfig(epochs=2, warmup_epochs=0, min_lr=0)}
    config = replace(RICH, data=DataConfig("digits", 41 / 160), **still)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(Stop):
        run(config, tmp_path / "stopped", checkpoint_every=1, on_step=stop_at(4))
    resumed = run(config, tmp_path / "stopped")
    assert 0 < whole.result()["best_validation_accuracy"] < 1
    assert whole.result()["best_epoch"] == 1
    assert resumed.result() == whole.result()


def test_a_finished_run_is_never_repeated(tmp_path: Path) -> None:
    first = run(tiny(), tmp_path)
    again = run(tiny(), tmp_path, on_step=stop_at(1))
    assert first.result() == again.result()
    assert len(again.provenance()) == 1
    assert not checkpoint.saved_steps(first.path)


def test_only_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tiny(), tmp_path, checkpoint_every=1, on_step=stop_at(6))
    assert checkpoint.saved_steps(RunFolder(tmp_path, tiny()).path) == [5, 6]


def test_checkpoints_hold_tensors_and_plain_values_only(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(RICH, tmp_path, checkpoint_every=1, on_step=stop_at(5))
    (path,) = RunFolder(tmp_path, RICH).path.glob("*5.pt")
    assert {"model", "optimiser", "ema", "best", "random", "sums", "step"} <= torch.load(path, weights_only=True).keys()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    def poison(trainer: Trainer) -> None:
        if trainer.done == 5:
            trainer.replicas.packs[0].matrix.data[0].fill_(float("nan"))

    with pytest.raises(DivergedError, match=r"seed 0 is not finite at step 6 .*the checkpoint of step 4 is good"):
        run(tiny(), tmp_path, checkpoint_every=4, on_step=poison)
    assert checkpoint.saved_steps(RunFolder(tmp_path, tiny()).path) == [4]
    assert same_weights(run(tiny(), tmp_path), run(tiny(), tmp_path / "whole"))


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="at step 1"):
        run(
            tiny(optim=OptimConfig(name="sgd", lr=float("inf")), schedule=replace(tiny().schedule, warmup_epochs=0)),
            tmp_path,
            checkpoint_every=1,
        )
    assert not list(tmp_path.rglob("checkpoint-*"))


def test_a_truncated_or_altered_checkpoint_is_refused_and_the_one_before_serves(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tiny(), tmp_path, checkpoint_every=1, on_step=stop_at(3))
    path = sorted(RunFolder(tmp_path, tiny()).path.glob("checkpoint-*"))[-1]
    good = path.read_bytes()
    middle = len(good) // 2
    for bad in (good[:100], good[:-1], good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]):
        path.write_bytes(bad)
        with pytest.raises(TrainError, match=r"truncated or damaged .*remove it to resume from step 2"):
            run(tiny(), tmp_path)
    path.unlink()
    assert same_weights(run(tiny(), tmp_path), run(tiny(), tmp_path / "whole"))


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, share: float) -> None:
    """The kernel refuses every byte beyond a limit, early or late in the writing."""
    with pytest.raises(Stop):
        run(tiny(), tmp_path, checkpoint_every=2, on_step=stop_at(2))
    (first,) = RunFolder(tmp_path, tiny()).path.glob("checkpoint-*")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * first.stat().st_size), before[1]))
        with pytest.raises(TrainError, match=r"cannot write .*checkpoint-000000004.pt.*untouched: make room"):
            run(tiny(), tmp_path, checkpoint_every=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder = RunFolder(tmp_path, tiny()).path
    assert checkpoint.saved_steps(folder) == [2]
    assert not list(folder.glob(".*tmp"))
    assert same_weights(run(tiny(), tmp_path), run(tiny(), tmp_path / "whole"))


class AlmostFull(io.FileIO):
    """A file on a disk that has room for its first 2 MB."""

    def write(self, content) -> int:
        if self.tell() + memoryview(content).nbytes > 2_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


def test_a_disk_that_fills_up_is_named_also_when_torch_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.save, writing there itself, ends in an error of its zip archive."""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "open", lambda self, mode: AlmostFull(self, "w"))
    with pytest.raises(TrainError, match="No space left on device"):
        write_whole(path, in_memory(lambda file: torch.save([torch.zeros(300_000) for _ in range(2)], file)))
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_a_checkpoint_of_another_recipe_is_refused_naming_the_difference(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tiny(), tmp_path, checkpoint_every=1, on_step=stop_at(1))
    other = tiny(smoothing=0.2)
    RunFolder(tmp_path, tiny()).path.rename(RunFolder(tmp_path, other).path)
    (RunFolder(tmp_path, other).path / "config.yaml").unlink()
    with pytest.raises(TrainError, match=r"another recipe .*\n +smoothing: 0.1 against 0.2"):
        run(other, tmp_path)


def test_a_run_from_before_an_option_goes_on(tmp_path: Path) -> None:
    """Its files lack the option, which then was what it is by default."""
    with pytest.raises(Stop):
        run(tiny(), tmp_path, checkpoint_every=1, on_step=stop_at(2))
    folder = RunFolder(tmp_path, tiny())
    (path,) = folder.path.glob("*2.pt")
    state = torch.load(path, weights_only=True)
    del state["config"]["data"]["fraction"]
    torch.save(state, path)
    (folder.path / "config.yaml").write_text(yaml.safe_dump(state["config"]), encoding="utf-8")
    assert run(tiny(), tmp_path).finished


def test_training_leaves_the_random_numbers_of_the_caller_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(tiny(), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with pytest.raises(TypeError):
        write_whole(path, "new")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_torn_line_is_closed_off_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, '{"a": 1}')
    with path.open("ab") as file:
        file.write(b'{"a": 2')
    append_line(path, '{"a": 3}')
    assert read_lines(path) == [{"a": 1}, {"a": 3}]
