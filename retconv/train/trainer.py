"""The training loop: a step for all replicas, an epoch's numbers, and the state that resuming needs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from retconv.data import Dataset
from retconv.train import randomness
from retconv.train.batches import Batches
from retconv.train.build import build_model, compiles_on, hold_out, precision_on, unfuse_short_attention
from retconv.train.config import Config
from retconv.train.files import TrainError
from retconv.train.flat import shares, stack
from retconv.train.optimise import (
    Rates,
    load_optimiser_state,
    make_optimiser,
    make_schedule,
    optimiser_state,
    undecayed,
)
from retconv.train.replicas import Replicas
from retconv.train.step import Step

#: Images of a forward pass without gradients.
_CHUNK = 512


class DivergedError(TrainError):
    """A loss or weight is no longer finite."""


class Trainer:
    """R runs of one configuration, at a step.

    Nothing in ``step`` waits for the device: losses are summed there, and looked at when an epoch ends or a checkpoint
    is due.

    Args:
        configs: Equal but for the seed, and for options of the model that change how it starts.
        data: Whole, on the training device.
        rank: Of this process.
        world: Number of processes.

    Attributes:
        replicas: The models.
        ema: Their moving average, if the configuration asks for it.
        steps: Steps in an epoch.
        total: Steps in all.
        done: Steps taken.
        tally: What steps add up.
        precision: Of the forward pass, ``"float32"`` or ``"bfloat16"``, also where it is left to the device.
        compiles: Whether the step is compiled, also where that is left to the device.

    Example:
        >>> trainer = retconv.train.Trainer([retconv.train.load("smoke")], retconv.data.load("digits"))
        >>> len(trainer.configs)
        1
    """

    def __init__(self, configs: Sequence[Config], data: Dataset, rank: int = 0, world: int = 1) -> None:
        self.configs, self.config, self.data = list(configs), configs[0], data
        self.rank, self.world = rank, world
        self.device = data.train_images.device
        part, *self.validation = hold_out(data, self.config.data)
        self.batches = Batches(configs, part, rank, world)
        self.steps = self.batches.steps
        self.total = self.steps * self.config.schedule.epochs
        self.precision = precision_on(self.device, self.config.precision)
        models = [build_model(config, data.size, len(data.classes)) for config in configs]
        self.compiles = compiles_on(self.device, self.config.compile)
        stacked = self.compiles and len(models) > 1
        if self.precision == "bfloat16" and (stacked or self.device.type == "cpu"):
            for model in models:
                unfuse_short_attention(model)
        self.replicas = Replicas(models, undecayed(models[0], self.config.optim)).to(self.device)
        self.optimiser = make_optimiser(self.config.optim, self.replicas)
        schedule = make_schedule(self.config.schedule, self.optimiser, self.steps)
        self.rates = Rates(schedule, self.optimiser)
        self.ema = copy.deepcopy(self.replicas) if self.config.ema else None
        self.best: dict[str, Tensor] = {}
        self.best_accuracy = torch.full((len(self.configs),), -1.0, dtype=torch.float64)
        self.best_epoch = torch.zeros(len(self.configs), dtype=torch.long)
        self.done = 0
        config = replace(self.config, precision=self.precision, compile=self.compiles)
        self._step = Step(self.replicas, self.optimiser, config, world, self.ema)
        self.tally = self._step.tally
        self.rates.set(0)

    @cached_property
    def _images(self) -> int:
        """A checksum of the images and labels that are trained on."""
        return self.data.checksum("train")

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Losses and hits since the epoch began, ``(R,)`` each, of all processes together."""
        losses, correct = self.tally.loss.clone(), self.tally.correct.clone()
        if self.world > 1:
            distributed.all_reduce(losses)
            distributed.all_reduce(correct)
        return losses, correct

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.done // self.steps

    def step(self) -> None:
        """One batch for every replica."""
        epoch, position = divmod(self.done, self.steps)
        self._step(*self.batches(epoch, position, self.replicas.draws))
        self.done += 1
        self.rates.set(self.done)

    @property
    def captured(self) -> bool:
        """Whether steps are launches of a CUDA graph by now."""
        return self._step.captured

    def require_finite(self, last_good: int | None, alone: bool = False) -> None:
        """Look at the losses since the epoch began and at the weights.

        Args:
            last_good: The step of the last checkpoint.
            alone: Whether other processes may be elsewhere, as after an exception, so that they are not asked.

        Raises:
            DivergedError: If one is not finite, naming the step and the last good checkpoint.
        """
        finite = torch.stack([pack.matrix.detach().isfinite().all(dim=1) for pack in self.replicas.packs]).all(dim=0)
        step = torch.where((self.tally.bad < 0) & ~finite, self.done, self.tally.bad)
        if self.world > 1 and not alone:
            distributed.all_reduce(step, distributed.ReduceOp.MAX)
        for config, bad in zip(self.configs, step.tolist(), strict=True):
            if bad >= 0:
                fallback = f"the checkpoint of step {last_good} is good" if last_good else "there is no checkpoint yet"
                raise DivergedError(
                    f"training diverged: the loss or a weight of seed {config.seed} is not finite at step {bad} (epoch "
                    f"{(bad - 1) // self.steps + 1}): {fallback}; lower optim.lr (now "
                    f"{self.config.optim.lr:g}), set optim.clip, or use float32"
                )

    def finish_epoch(self) -> list[dict[str, float]]:
        """Numbers of the epoch that just ended, one row for each replica, after validation."""
        losses, correct = self._sums()
        images = self.steps * self.config.batch_size
        columns = {
            "train_loss": losses / (self.steps * self.world),
            "train_accuracy": correct.double() / images,
        }
        if len(self.validation[1]):
            loss, accuracy = self.evaluate(*self.validation)
            columns |= {"validation_loss": loss, "validation_accuracy": accuracy}
            self._note_best(accuracy.cpu())
        self.tally.reset(self.done)
        lr = self.rates.now
        lists = {name: values.tolist() for name, values in columns.items()}
        return [
            {"epoch": self.epoch, "step": self.done, "lr": lr} | {name: values[i] for name, values in lists.items()}
            for i in range(len(self.configs))
        ]

    def _note_best(self, accuracy: Tensor) -> None:
        better = accuracy > self.best_accuracy
        self.best_accuracy = torch.where(better, accuracy, self.best_accuracy)
        self.best_epoch = torch.where(better, self.epoch, self.best_epoch)
        if self.config.select == "best":
            now = self._tested().model.state_dict()
            before = self.best or now
            choice = better.to(self.device)
            self.best = {
                name: torch.where(choice.view(-1, *[1] * (value.ndim - 1)), value, before[name])
                for name, value in now.items()
            }

    def _tested(self) -> Replicas:
        """The models that are evaluated: the moving average where there is one, with the buffers as they are now."""
        if self.ema is None:
            return self.replicas
        for average, now in zip(self.ema.model.buffers(), self.replicas.model.buffers(), strict=True):
            average.copy_(now)
        return self.ema

    def load_selected(self) -> None:
        """After the last epoch: make the weights that are tested the model's own."""
        weights = self.best or self._tested().model.state_dict()
        self.replicas.model.load_state_dict(weights)
        self.ema = None

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and accuracy of every replica, ``(R,)`` each, of the moving average where there is one."""
        model = self._tested().eval()
        logits_of = self._step.evaluate if model is self.replicas else partial(self._step.logits_of, model)
        sums = torch.zeros(2, len(self.configs), device=self.device, dtype=torch.float64)
        mine = torch.arange(self.rank, len(labels), self.world, device=self.device)
        for rows in mine.split(_CHUNK):
            # Chunks of one size: what is compiled is compiled once.
            filled = F.pad(rows, (0, _CHUNK - len(rows))) if len(mine) > _CHUNK else rows
            logits = logits_of(self.batches.normalise(images[filled]))[:, : len(rows)]
            target = labels[rows].long().expand(len(self.configs), -1)
            losses = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
            sums[0] += losses.view(len(self.configs), -1).sum(dim=1)
            sums[1] += (logits.argmax(-1) == target).sum(dim=1)
        if self.world > 1:
            distributed.all_reduce(sums)
        loss, accuracy = sums / len(labels)
        return loss, accuracy

    def states(self) -> list[dict[str, Any]]:
        """What resuming needs, one for each replica: tensors on the CPU and plain values. Called by all processes."""
        losses, correct = (sums.tolist() for sums in self._sums())
        best, random = (self.best_accuracy.tolist(), self.best_epoch.tolist()), randomness.state()
        stacked = {
            "model": self.replicas.model.state_dict(),
            "ema": self._tested().model.state_dict() if self.ema is not None else {},
            "optimiser": optimiser_state(self.optimiser, self.replicas),
            "best": self.best,
        }
        return [
            {
                **share,
                "config": config.as_dict(),
                "step": self.done,
                "images": self._images,
                "best": {"accuracy": best[0][i], "epoch": best[1][i], "weights": share["best"]},
                "sums": {"loss": losses[i], "correct": correct[i]},
                "random": random,
            }
            for i, (config, share) in enumerate(zip(self.configs, shares(stacked, len(self.configs)), strict=True))
        ]

    def load_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go to where ``states`` were taken, all at one step.

        Raises:
            TrainError: If they were taken on other images.
        """
        if any(s.get("images", self._images) != self._images for s in states):  # earlier checkpoints do not say
            raise TrainError(
                f"the checkpoint of step {states[0]['step']} was trained on other images or labels than these, of "
                f"{self.data.source}: go on with the same, or in another folder of runs"
            )
        self.done = states[0]["step"]
        self.replicas.model.load_state_dict(stack([s["model"] for s in states]))
        if self.ema is not None:
            self.ema.model.load_state_dict(stack([s["ema"] for s in states]))
        load_optimiser_state(self.optimiser, self.replicas, [s["optimiser"] for s in states])
        self.rates.set(self.done)
        self.best_accuracy = torch.tensor([s["best"]["accuracy"] for s in states], dtype=torch.float64)
        self.best_epoch = torch.tensor([s["best"]["epoch"] for s in states])
        weights = stack([s["best"]["weights"] for s in states])
        self.best = {name: value.to(self.device) for name, value in weights.items()}
        self.tally.reset(self.done)
        if self.rank == 0:
            self.tally.loss += torch.tensor(
                [s["sums"]["loss"] for s in states], device=self.device, dtype=torch.float64
            )
            self.tally.correct += torch.tensor([s["sums"]["correct"] for s in states], device=self.device)
        randomness.restore(states[0]["random"])
