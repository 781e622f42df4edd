"""Batches for every replica, made on the training device from its own seed: order, augmentation, mixing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from retconv.data import Dataset
from retconv.data.augment import Augment, Draw
from retconv.train.build import augmentation
from retconv.train.config import Config
from retconv.train.randomness import generator, seeded

_HOST = torch.device("cpu")


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
        if self.batch % world or (self._mixes and self.batch // world % 2):
            raise ValueError(
                f"{world} processes cannot share a batch of {self.batch} evenly (in pairs, for Mixup and CutMix): "
                "choose another batch_size or number of processes"
            )
        self._augment: Augment = augmentation(self.config.augment, data)
        self._order: tuple[int, Tensor] | None = None

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
        position = (epoch, step, self.rank)
        rows = self.order(epoch)[:, step * self.batch : (step + 1) * self.batch][:, self.rank :: self.world]
        # Replicas draw apart, each from its own seed, and are augmented together.
        height, width = self.images.shape[-2:]
        choices = [
            self._augment.draw(rows.shape[1], height, width, generator(_HOST, seed, "augment", *position))
            for seed in self.seeds
        ]
        images = self._augment.apply(self.images[rows.flatten()], Draw.cat(choices)).unflatten(0, rows.shape)
        mixed = [
            self._mix(seed, part, labels, position)
            for seed, part, labels in zip(self.seeds, images, self.labels[rows], strict=True)
        ]
        # Drawn for the whole batch, of which this process takes its share: the same for any number of processes.
        uniform = [
            torch.rand(draws, self.batch, generator=generator(_HOST, seed, "path", epoch, step)) for seed in self.seeds
        ]
        shares = torch.stack(uniform)[..., self.rank :: self.world].to(self.device, non_blocking=True)
        return images, torch.stack(mixed), shares

    def normalise(self, images: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` as the model sees them when it is tested."""
        return self._augment.normalise(images)

    def order(self, epoch: int) -> Tensor:
        """Row numbers of the training images in each replica's order, ``(R, images · repeats)``.

        A part of the images is gone through as often as it takes to show as many as there are in all. With repeats,
        each image stands that many times in a row, differently augmented: repeated augmentation (Hoffer et al. 2020,
        arXiv 1901.09335), as the reference's sampler does it.
        """
        if self._order is None or self._order[0] != epoch:
            orders = [self._passes(generator(_HOST, seed, "order", epoch)) for seed in self.seeds]
            repeated = torch.stack(orders).repeat_interleave(self.config.augment.repeats, dim=1)
            self._order = epoch, repeated.to(self.device)
        return self._order[1]

    def _passes(self, source: torch.Generator) -> Tensor:
        """An epoch of one replica: whole passes over its images, the last one cut off."""
        passes = -(-self.count // len(self.labels))
        return torch.cat([torch.randperm(len(self.labels), generator=source) for _ in range(passes)])[: self.count]

    @property
    def _mixes(self) -> bool:
        return bool(self.config.augment.mixup or self.config.augment.cutmix)

    def _mix(self, seed: int, images: Tensor, labels: Tensor, position: tuple[int, ...]) -> Tensor:
        """Mix one replica's images in place; its targets."""
        options, classes = self.config.augment, len(self.data.classes)
        if not self._mixes:
            return mixup_target(labels, classes, smoothing=self.config.smoothing)
        mix = Mixup(
            options.mixup,
            options.cutmix,
            prob=options.mix_probability,
            label_smoothing=self.config.smoothing,
            num_classes=classes,
        )
        # timm draws from NumPy's global generator.
        with seeded(seed, "mix", *position):
            return mix(images, labels)[1]
