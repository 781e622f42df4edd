"""Training runs to their end, from wherever they are, each in its folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm

from retconv.data import Dataset, load
from retconv.train import checkpoint
from retconv.train.board import boards
from retconv.train.build import kernels
from retconv.train.config import Config, differences
from retconv.train.folder import RunFolder
from retconv.train.provenance import provenance
from retconv.train.trainer import Trainer

CHECKPOINT_EVERY = 200


def train(
    configs: Config | Sequence[Config],
    root: str | Path = "runs",
    *,
    device: torch.device | str | None = None,
    data: Dataset | None = None,
    checkpoint_every: int = CHECKPOINT_EVERY,
    progress: bool = True,
    tensorboard: bool = False,
    on_step: Callable[[Trainer], object] | None = None,
) -> list[RunFolder]:
    """Train runs to their end; what is finished is not repeated, what was interrupted goes on.

    Several configurations train as replicas: one stacked model (see ``Replicas``). They must be equal but for the seed
    and the model's options, and their models must share one functional form. Each run's numbers are its own, and are
    stored as if it had trained alone.

    Args:
        configs: One, or several to be trained as replicas.
        root: Folder of all runs.
        device: Such as ``"cuda"``; a CUDA device by default where there is one.
        data: The data set; by default the one that the configuration names is loaded.
        checkpoint_every: Steps between checkpoints; there is one at the end of each epoch besides.
        progress: Show a bar.
        tensorboard: Also write the numbers for TensorBoard, into each run's folder.
        on_step: Called after every step.

    Returns:
        The runs' folders, in the order of ``configs``.

    Raises:
        ValueError: If the configurations cannot be replicas of one another, or the device cannot be used.
        TrainError: If training cannot go on: a full disk, a damaged checkpoint, a loss that is not finite, a run that
            another process trains.
    """
    configs = [configs] if isinstance(configs, Config) else list(configs)
    _require_replicas(configs)
    folders = [RunFolder(root, config) for config in configs]
    todo = list({f.path: f for f in folders if not f.finished}.values())
    if not todo:
        return folders
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    device = _device(device)
    data = (load(configs[0].data.name) if data is None else data).to(device)
    with ExitStack() as claims:
        if rank == 0:
            for folder in todo:
                claims.enter_context(folder.claimed())
        _wait_for_all()
        for group in _groups(todo):
            session = _Session(group, data, rank, tensorboard)
            session.run(checkpoint_every, progress and rank == 0, on_step)
    _wait_for_all()
    return folders


def _wait_for_all() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def _device(device: torch.device | str | None) -> torch.device:
    """The device asked for, or this process's own GPU, or the CPU."""
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"device {str(device)!r} cannot be used here ({reason}): choose cpu, or leave it out"
        ) from error
    return device


def _require_replicas(configs: Sequence[Config]) -> None:
    if not configs:
        raise ValueError("there is nothing to train: give at least one configuration")
    one = configs[0].as_dict()
    for config in configs[1:]:
        lines = differences(one, config.as_dict())
        wrong = [line for line in lines if not line.startswith(("seed:", "model.options"))]
        if wrong:
            raise ValueError(
                "replicas may differ in seed and model.options only, but here in "
                + "; ".join(wrong)
                + ": train them one after the other"
            )


def _groups(folders: list[RunFolder]) -> list[list[RunFolder]]:
    """All together if they share a step to start from; else those together whose newest checkpoints agree."""
    if checkpoint.common_step(f.path for f in folders) is not None:
        return [folders]
    groups: dict[int, list[RunFolder]] = {}
    for folder in folders:
        groups.setdefault(max(checkpoint.saved_steps(folder.path), default=0), []).append(folder)
    return list(groups.values())


class _Session:
    """A group of runs that train together, from their common checkpoint on."""

    def __init__(self, folders: list[RunFolder], data: Dataset, rank: int, tensorboard: bool) -> None:
        self.folders, self.rank = folders, rank
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        torch.manual_seed(folders[0].config.seed)
        self.trainer = Trainer([f.config for f in folders], data, rank, world)
        self.last_good = checkpoint.common_step(f.path for f in folders) or None
        if self.last_good:
            saved = [checkpoint.load(f.path, self.last_good, f.config.as_dict()) for f in folders]
            self.trainer.load_states(saved)
        self.boards = boards([f.path for f in folders]) if tensorboard and rank == 0 else []
        if rank == 0:
            origin = provenance(self.trainer.device) | {"data": data.source, "replicas": len(folders)}
            for folder in folders:
                folder.add_provenance(origin | {"from_step": self.trainer.done, "processes": world})

    def run(self, every: int, progress: bool, on_step: Callable[[Trainer], object] | None) -> None:
        trainer = self.trainer
        images = trainer.config.batch_size * len(self.folders)
        if self.rank == 0 and not trainer.done:
            for i, folder in enumerate(self.folders):
                folder.add_kernels(0, kernels(trainer.replicas, i)[0])
        with tqdm(
            total=trainer.total, initial=trainer.done, unit="img", unit_scale=images, disable=None if progress else True
        ) as bar:
            start, first = time.perf_counter(), trainer.done
            while trainer.done < trainer.total:
                trainer.step()
                bar.update()
                ended = trainer.done % trainer.steps == 0
                if ended:
                    trainer.require_finite(self.last_good)
                    seconds = time.perf_counter() - start
                    rate = (trainer.done - first) * trainer.config.batch_size / seconds
                    self._finish_epoch(bar, {"seconds": seconds, "images_per_second": rate})
                    start, first = time.perf_counter(), trainer.done
                if ended or trainer.done % every == 0:
                    self._save()
                if on_step is not None:
                    on_step(trainer)
        self._finish()

    def _finish_epoch(self, bar: tqdm, speed: dict[str, float]) -> None:
        rows = self.trainer.finish_epoch()
        if self.rank != 0:
            return
        for i, (folder, row) in enumerate(zip(self.folders, rows, strict=True)):
            of_masks, residuals = kernels(self.trainer.replicas, i)
            row |= {f"residual.{name}": value for name, value in residuals.items()}
            folder.add_metrics(row | speed)
            folder.add_kernels(self.trainer.epoch, of_masks)
        for board, row in zip(self.boards, rows, strict=False):
            for name, value in (row | speed).items():
                board.add_scalar(name, value, row["epoch"])
            board.flush()
        accuracy = "validation_accuracy" if "validation_accuracy" in rows[0] else "train_accuracy"
        shown = {"loss": "train_loss", "accuracy": accuracy}
        means = {label: f"{sum(r[key] for r in rows) / len(rows):.3f}" for label, key in shown.items()}
        bar.set_postfix(means | {"lr": f"{rows[0]['lr']:.1e}", "epoch": rows[0]["epoch"]})

    def _save(self) -> None:
        """A checkpoint of every replica, then the removal of what is too old; only of what is finite."""
        self.trainer.require_finite(self.last_good)
        states = self.trainer.states()
        if self.rank == 0:
            for folder, state in zip(self.folders, states, strict=True):
                checkpoint.save(folder.path, state["step"], state)
            for folder in self.folders:
                checkpoint.prune(folder.path)
        self.last_good = self.trainer.done

    def _finish(self) -> None:
        """The test set, once."""
        trainer = self.trainer
        best = trainer.best_accuracy.tolist(), trainer.best_epoch.tolist()
        trainer.load_selected()
        loss, accuracy = trainer.evaluate(trainer.data.test_images, trainer.data.test_labels)
        if self.rank != 0:
            return
        for i, folder in enumerate(self.folders):
            result: dict[str, Any] = {"test_loss": float(loss[i]), "test_accuracy": float(accuracy[i])}
            result |= {"epochs": trainer.epoch, "test_images": len(trainer.data.test_labels)}
            result["parameters"] = sum(p[i].numel() for p in trainer.replicas.parameters())
            if trainer.config.data.validation:
                result |= {"best_validation_accuracy": best[0][i], "best_epoch": best[1][i]}
            state = trainer.replicas.model.state_dict()
            folder.finish(result, {name: value[i].cpu().clone() for name, value in state.items()})
        for board in self.boards:
            board.close()
