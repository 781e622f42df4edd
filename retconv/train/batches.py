"""Batches for every replica, made on the training device from its own seed: order, augmentation, mixing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from retconv.data import Dataset
from retconv.data.augment import Augment, Draw, Mixing, soft_targets
from retconv.data.augment.augment import sent
from retconv.train.build import augmentation
from retconv.train.config import Config
from retconv.train.randomness import derive, generator

_HOST = torch.device("cpu")


@dataclass(frozen=True)
class _Epoch:
    """All random choices of an epoch, which follow from its number and the seeds alone.

    Attributes:
        order: Rows of the images, int64 ``(steps, R, batch)``.
        augment: Of each image, in that order, flattened.
        share: λ of each process's share of each batch, ``(steps, world, R)``; empty if nothing is mixed.
        boxes: Rectangles of CutMix, int64 ``(steps, world, R, 4)``; likewise.
        paths: Uniform numbers of drop path, ``(steps, R, draws, batch)``.
    """

    order: Tensor
    augment: Draw
    share: Tensor
    boxes: Tensor
    paths: Tensor

    def to(self, device: torch.device) -> _Epoch:
        """The same choices on the training device, all on their way at once."""
        if device.type == "cpu":
            return self
        order, share, boxes, paths = (sent(x, device) for x in (self.order, self.share, self.boxes, self.paths))
        return _Epoch(order, self.augment.to(device), share, boxes, paths)


class Batches:
    """Training batches as a function of epoch and step: any batch can be made without those before it.

    Args:
        configs: One for each replica; they differ by seed.
        data: The training part, on the training device.
        rank: Of this process.
        world: Number of processes, which share every batch.

    With ``data.fraction`` below 1, a fixed part of the images is learnt from, and an epoch keeps its number of steps:
    it goes through the part again and again, each time in a new order. So runs on less data differ in the data and not
    in how long they train, as in ConViT's study of sample efficiency (d'Ascoli et al. 2021, arXiv 2103.10697), where
    the number of images shown is held constant too.

    All choices of an epoch are drawn on the host together; beside a GPU, during the epoch before.

    Attributes:
        steps: Steps in an epoch; what does not fill a batch is left for another epoch's order.

    Raises:
        ValueError: If there are fewer images than one batch holds, or the processes cannot share a batch evenly.
    """

    def __init__(self, configs: Sequence[Config], data: Dataset, rank: int = 0, world: int = 1) -> None:
        self.seeds = [config.seed for config in configs]
        self.config = configs[0]
        part, share = data, configs[0].data
        if share.fraction < 1:
            part = data.subset(share.fraction, share.split_seed)
        self.data, self.count = part, len(data.train_labels)
        self.rank, self.world = rank, world
        self.images, self.labels = part.train_images, part.train_labels.long()
        self.device = self.images.device
        self.batch = self.config.batch_size
        self.steps = self.count * self.config.augment.repeats // self.batch
        if self.steps < 1:
            raise ValueError(
                f"batch_size {self.batch} is more than the {self.count} training images: choose a smaller one"
            )
        options = self.config.augment
        self._mixing = Mixing(options.mixup, options.cutmix, options.mix_probability)
        self._mixes = bool(options.mixup or options.cutmix)
        if self.batch % world or (self._mixes and self.batch // world % 2):
            raise ValueError(
                f"{world} processes cannot share a batch of {self.batch} evenly (in pairs, for Mixup and CutMix): "
                "choose another batch_size or number of processes"
            )
        self._augment: Augment = augmentation(options, data)
        self._ready: dict[tuple[int, int], Future[_Epoch]] = {}
        self._ahead = ThreadPoolExecutor(1) if self.device.type == "cuda" else None
        self._now: tuple[tuple[int, int], _Epoch] | None = None

    def __call__(self, epoch: int, step: int, draws: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """This process's share of a batch.

        Args:
            epoch: From 0.
            step: Within the epoch, from 0.
            draws: Drop paths of the model.

        Returns:
            Images ``(R, batch, C, H, W)``, normalised; targets ``(R, batch, classes)``, smoothed and mixed; and numbers
            for drop path ``(R, draws, batch)``, uniform on [0, 1).
        """
        choices = self._choices(epoch, draws)
        mine = slice(self.rank, None, self.world)
        rows = choices.order[step, :, mine]
        # Replicas draw apart, each from its own seed, and are augmented together.
        each = len(self.seeds) * self.batch
        drawn = choices.augment[step * each : (step + 1) * each]
        if self.world > 1:
            drawn = Draw.cat([drawn[i * self.batch : (i + 1) * self.batch][mine] for i in range(len(self.seeds))])
        images = self._augment.apply(self.images[rows.flatten()], drawn).unflatten(0, rows.shape)
        share = None
        if self._mixes:
            share = choices.share[step, self.rank]
            images = self._mixing.apply(images, share, choices.boxes[step, self.rank])
        targets = soft_targets(self.labels[rows], len(self.data.classes), self.config.smoothing, share)
        return images, targets, choices.paths[step, ..., mine]

    def normalise(self, images: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` as the model sees them when it is tested."""
        return self._augment.normalise(images)

    def order(self, epoch: int) -> Tensor:
        """Row numbers of the training images in each replica's order, ``(R, images · repeats)``, on the host.

        A part of the images is gone through as often as it takes to show as many as there are in all. With repeats,
        each image stands that many times in a row, differently augmented: repeated augmentation (Hoffer et al. 2020,
        arXiv 1901.09335), as the reference's sampler does it.
        """
        orders = [self._passes(generator(_HOST, seed, "order", epoch)) for seed in self.seeds]
        return torch.stack(orders).repeat_interleave(self.config.augment.repeats, dim=1)

    def _passes(self, source: torch.Generator) -> Tensor:
        """An epoch of one replica: whole passes over its images, the last one cut off."""
        passes = -(-self.count // len(self.labels))
        return torch.cat([torch.randperm(len(self.labels), generator=source) for _ in range(passes)])[: self.count]

    def _choices(self, epoch: int, draws: int) -> _Epoch:
        """The choices of an epoch, on the training device; those of the next are begun."""
        key = epoch, draws
        if self._now is None or self._now[0] != key:
            ready = self._ready.pop(key).result() if key in self._ready else self._draw(*key)
            self._now = key, ready.to(self.device)
            if self._ahead is not None:
                self._ready = {(epoch + 1, draws): self._ahead.submit(self._draw, epoch + 1, draws)}
        return self._now[1]

    def _draw(self, epoch: int, draws: int) -> _Epoch:
        """Draw the choices of an epoch, each replica's from its own seed."""
        height, width = self.images.shape[-2:]
        used, mixed = self.steps * self.batch, self.steps * self.world * self._mixes
        order = self.order(epoch)[:, :used].unflatten(1, (self.steps, self.batch)).transpose(0, 1)
        drawn = [self._augment.draw(used, height, width, generator(_HOST, s, "augment", epoch)) for s in self.seeds]
        choices = {
            field.name: torch.stack([getattr(one, field.name).unflatten(0, (self.steps, -1)) for one in drawn], dim=1)
            for field in fields(Draw)
        }
        shares, boxes = zip(
            *(
                self._mixing.draw(mixed, height, width, np.random.default_rng(derive(seed, "mix", epoch)))
                for seed in self.seeds
            ),
            strict=True,
        )
        # Of the whole batch, so that they are the same for any number of processes.
        paths = [
            torch.rand(self.steps, draws, self.batch, generator=generator(_HOST, seed, "path", epoch))
            for seed in self.seeds
        ]
        return _Epoch(
            order.contiguous(),
            Draw(**{name: values.flatten(0, 2) for name, values in choices.items()}),
            torch.stack(shares, dim=1).unflatten(0, (-1, self.world)) if mixed else torch.empty(0),
            torch.stack(boxes, dim=1).unflatten(0, (-1, self.world)) if mixed else torch.empty(0),
            torch.stack(paths, dim=1),
        )
