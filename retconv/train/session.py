"""One group of runs trained together, from their common checkpoint on: the loop, what it stores, and when it stops."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm

from retconv.data import Dataset
from retconv.provenance import provenance
from retconv.train import checkpoint
from retconv.train.board import boards
from retconv.train.budget import Budget, Pace
from retconv.train.build import kernels
from retconv.train.folder import RunFolder
from retconv.train.trainer import Trainer

#: Kernels are kept at about so many epochs.
_KERNELS = 20
#: Steps that the host may be ahead of the device, so that the clock says where training is.
_AHEAD = 8
#: Several processes agree on whether to save or to stop only so often, in steps.
_AGREE = 10


class Session:
    """A group of runs that train together.

    Args:
        folders: Of the runs.
        data: On the training device.
        rank: Of this process.
        budget: When to stop.
        tensorboard: Also write for TensorBoard.
    """

    def __init__(
        self, folders: Sequence[RunFolder], data: Dataset, rank: int, budget: Budget, tensorboard: bool
    ) -> None:
        self.begun = time.monotonic()
        self.folders, self.rank, self.budget = folders, rank, budget
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        torch.manual_seed(folders[0].config.seed)
        self.trainer = Trainer([f.config for f in folders], data, rank, world)
        self.last_good = checkpoint.common_step(f.path for f in folders) or None
        if self.last_good:
            states = [checkpoint.load(f.path, self.last_good, f.config.as_dict()) for f in folders]
            self.trainer.load_states(states)
        self.boards = boards([f.path for f in folders]) if tensorboard and rank == 0 else []
        self.pace = Pace(
            self.trainer.compiles,
            self.trainer.config.batch_size,
            sum(pack.matrix.nbytes for pack in self.trainer.replicas.packs),
        )
        self.launched: deque[torch.cuda.Event] = deque()
        if rank == 0:
            origin = provenance(self.trainer.device) | {"data": data.source, "replicas": len(folders)}
            origin |= {"from_step": self.trainer.done, "processes": world, "precision": self.trainer.precision}
            for folder in folders:
                folder.add_provenance(origin)

    def run(
        self, seconds: float, every: int | None, progress: bool, on_step: Callable[[Trainer], object] | None
    ) -> None:
        """Train to the end and test, or until the budget is spent.

        Args:
            seconds: Between checkpoints.
            every: Steps between checkpoints, besides.
            progress: Show a bar.
            on_step: Called after every step.
        """
        trainer = self.trainer
        images = trainer.config.batch_size * len(self.folders)
        if self.rank == 0 and not trainer.done:
            self._keep_kernels(0)
        with tqdm(
            total=trainer.total, initial=trainer.done, unit="img", unit_scale=images, disable=None if progress else True
        ) as bar:
            start, first = time.perf_counter(), trainer.done
            last_save = time.monotonic()
            while trainer.done < trainer.total:
                stop, save = self._orders(time.monotonic() - last_save >= seconds)
                if stop or save:
                    self._save()
                    last_save = time.monotonic()
                if stop:
                    return
                self._step()
                bar.update()
                if trainer.done % trainer.steps == 0:
                    trainer.require_finite(self.last_good)
                    spent = time.perf_counter() - start
                    rate = (trainer.done - first) * trainer.config.batch_size / spent
                    self._finish_epoch(bar, {"seconds": spent, "images_per_second": rate})
                    start, first = time.perf_counter(), trainer.done
                if every is not None and trainer.done % every == 0:
                    self._save()
                if on_step is not None:
                    on_step(trainer)
        self._save()
        testing = self.pace.ending(0, len(trainer.data.test_labels))
        if not any_process(self.budget.left() < testing, trainer.device):
            self._finish()

    def _orders(self, save: bool) -> tuple[bool, bool]:
        """Whether to stop here, and whether to save; several processes agree on it every few steps only.

        Here is where to stop if there is no time for the steps until the next such question and what they lead to: the
        end of an epoch with its validation, and a checkpoint.
        """
        trainer = self.trainer
        steps = 1 if trainer.world == 1 else _AGREE
        if trainer.done % steps and self.pace.step:
            return False, False
        ends = trainer.done % trainer.steps + steps >= trainer.steps
        images = len(trainer.validation[1]) if ends else 0
        stop = self.budget.left() < self.pace.ending(steps + len(self.launched), images)
        return any_process(stop, trainer.device), any_process(save, trainer.device)

    def _step(self) -> None:
        trainer, start = self.trainer, time.monotonic()
        with self._naming_divergence():
            trainer.step()
        if trainer.device.type == "cuda":
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(trainer.device))
            self.launched.append(event)
            if len(self.launched) > _AHEAD:
                self.launched.popleft().synchronize()
        now = time.monotonic()
        if not self.pace.step:  # the first step compiles, allocates and chooses algorithms
            Pace.setup = now - self.begun
            self.pace.step = math.ulp(1.0)
        else:
            self.pace.step = max(0.9 * self.pace.step, now - start)  # a hiccup is forgotten

    @contextmanager
    def _naming_divergence(self) -> Iterator[None]:
        """Weights that are not finite make all sorts of errors: inside, those are named as what they are."""
        try:
            yield
        except Exception:
            self.trainer.require_finite(self.last_good, alone=True)
            raise

    def _finish_epoch(self, bar: tqdm, speed: dict[str, float]) -> None:
        trainer, start = self.trainer, time.monotonic()
        with self._naming_divergence():
            rows = trainer.finish_epoch()
        if len(trainer.validation[1]):
            self.pace.evaluated = (time.monotonic() - start) / len(trainer.validation[1])
        if self.rank != 0:
            return
        residuals = self._keep_kernels(trainer.epoch) if self._keeps_kernels() else [{} for _ in rows]
        for folder, row, more in zip(self.folders, rows, residuals, strict=True):
            row |= more
            folder.add_metrics(row | speed)
        for board, row in zip(self.boards, rows, strict=False):
            for name, value in (row | speed).items():
                board.add_scalar(name, value, row["epoch"])
            board.flush()
        accuracy = "validation_accuracy" if "validation_accuracy" in rows[0] else "train_accuracy"
        labels = {"loss": "train_loss", "accuracy": accuracy}
        means = {label: f"{sum(r[key] for r in rows) / len(rows):.3f}" for label, key in labels.items()}
        bar.set_postfix(means | {"lr": f"{rows[0]['lr']:.1e}", "epoch": rows[0]["epoch"]})

    def _keeps_kernels(self) -> bool:
        """At the first epoch, at some twenty evenly spaced, and at the last."""
        epoch, epochs = self.trainer.epoch, self.trainer.config.schedule.epochs
        return epoch in (1, epochs) or epoch % math.ceil(epochs / _KERNELS) == 0

    def _keep_kernels(self, epoch: int) -> list[dict[str, float]]:
        """Store the kernels of every run; returns what they leave out of free masks, as columns."""
        columns = []
        for i, folder in enumerate(self.folders):
            of_masks, residuals = kernels(self.trainer.replicas, i)
            folder.add_kernels(epoch, of_masks)
            columns.append({f"residual.{name}": value for name, value in residuals.items()})
        return columns

    def _save(self) -> None:
        """A checkpoint of every replica, then the removal of what is too old; only of what is finite and new."""
        if self.trainer.done in (0, self.last_good):
            return
        start = time.monotonic()
        self.trainer.require_finite(self.last_good)
        self.launched.clear()
        states = self.trainer.states()
        if self.rank == 0:
            for folder, state in zip(self.folders, states, strict=True):
                folder.save(state)
            for folder in self.folders:
                checkpoint.prune(folder.path)
        self.last_good = self.trainer.done
        self.pace.saving = time.monotonic() - start

    def _finish(self) -> None:
        """The test set, once."""
        trainer = self.trainer
        best = trainer.best_accuracy.tolist(), trainer.best_epoch.tolist()
        trainer.load_selected()
        loss, accuracy = trainer.evaluate(trainer.data.test_images, trainer.data.test_labels)
        if self.rank != 0:
            return
        checksum = trainer.data.checksum("train", "test")
        for i, folder in enumerate(self.folders):
            result: dict[str, Any] = {"test_loss": float(loss[i]), "test_accuracy": float(accuracy[i])}
            result |= {"epochs": trainer.epoch, "test_images": len(trainer.data.test_labels), "checksum": checksum}
            result["parameters"] = sum(p[i].numel() for p in trainer.replicas.parameters())
            if trainer.config.data.validation:
                result |= {"best_validation_accuracy": best[0][i], "best_epoch": best[1][i]}
            state = trainer.replicas.model.state_dict()
            folder.finish(result, {name: value[i].cpu().clone() for name, value in state.items()})
        for board in self.boards:
            board.close()


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether one of the processes said so, asked of all at the same point."""
    if not distributed.is_initialized():
        return flag
    agreed = torch.tensor(int(flag), device=device)
    distributed.all_reduce(agreed, distributed.ReduceOp.MAX)
    return bool(agreed)
