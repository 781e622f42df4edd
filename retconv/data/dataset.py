"""A labelled image data set as tensors, and stratified choices among its training images."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from retconv.ambient import host


@dataclass(frozen=True)
class Dataset:
    """A whole data set as uint8 tensors, on one device.

    The test set is touched once, at the end: what is chosen while training is chosen on a ``split`` of the training
    set.

    Attributes:
        name: Such as ``"cifar10"``.
        train_images: uint8 ``(n, 3, H, W)``; grey images have three equal channels.
        train_labels: int64 ``(n,)``, in ``0 … len(classes) − 1``.
        test_images: uint8 ``(m, 3, H, W)``; of Tiny-ImageNet, whose test labels are not public, the validation set.
        test_labels: int64 ``(m,)``.
        classes: A name for each label.
        mean: Mean of each channel over all training pixels, in units of [0, 1].
        std: Standard deviation of each channel over all training pixels, in the same units.
        flip: Whether the mirror image of an image is one of the same class; not so for digits.
        source: Where the images come from, with the hash of their files: to be stored beside results.

    Example:
        >>> data = retconv.data.load("digits")
        >>> data.train_images.shape, len(data.classes)
        (torch.Size([1437, 3, 8, 8]), 10)
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    source: str

    @property
    def size(self) -> int:
        """Height and width of an image, in pixels."""
        return self.train_images.shape[-1]

    def checksum(self, *parts: str) -> int:
        """A number that differs from that of other images or labels of these parts, ``"train"`` and ``"test"``."""
        tensors = (getattr(self, f"{part}_{kind}") for part in parts for kind in ("images", "labels"))
        return reduce(lambda crc, x: zlib.crc32(x.cpu().numpy().tobytes(), crc), tensors, 0)

    def __repr__(self) -> str:
        n, *shape = self.train_images.shape
        sizes = f"{n:,} + {len(self.test_images):,} images {tuple(shape)}, {len(self.classes)} classes"
        return f"Dataset({self.name!r}, {sizes}, {self.source}, on {self.train_images.device})"

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set on another device."""
        names = ("train_images", "train_labels", "test_images", "test_labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def split(self, size: float | int, seed: int) -> tuple[Tensor, Tensor]:
        """Divide the training set into training and validation, stratified by class.

        Args:
            size: Of the validation set: an int is a number of images, a float a fraction in (0, 1).
            seed: Which division; the same one on every device.

        Returns:
            Indices into ``train_images``, int64, each in ascending order: training, validation.

        Raises:
            ValueError: If either part would be empty.
        """
        count = self._count(size)
        order = stratified_order(self.train_labels, seed)
        return order[count:].sort().values, order[:count].sort().values

    def subset(self, size: float | int, seed: int) -> Dataset:
        """The data set with fewer training images, stratified by class: for studies of how much data a model needs.

        The subsets of one seed are nested: a smaller one is part of a larger one. Test set and statistics stay.

        Args:
            size: Of the subset: an int is a number of images, a float a fraction in (0, 1).
            seed: Which subset.

        Raises:
            ValueError: If the subset would be empty or the whole set.
        """
        indices = stratified_order(self.train_labels, seed)[: self._count(size)].sort().values
        return replace(self, train_images=self.train_images[indices], train_labels=self.train_labels[indices])

    def _count(self, size: float | int) -> int:
        n = len(self.train_labels)
        count = round(size * n) if isinstance(size, float) else size
        if not 0 < count < n:
            raise ValueError(
                f"{self.name} has {n} training images, of which {size!r} is no proper part: "
                f"give an int from 1 to {n - 1} or a float between 0 and 1"
            )
        return count


@host()
def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """An order of samples each of whose beginnings holds every class in proportion.

    The r-th sample of a class of n, counted from 0 in random order, comes at position ``(r + ½) / n``, and classes
    that meet there follow one another at random. That is how the Sainte-Laguë method hands out seats, so the first k
    samples are the apportionment of k seats to the classes, whatever k.

    Args:
        labels: int64 ``(n,)``, at least 0.
        seed: Of the random order.

    Returns:
        int64 ``(n,)`` on the labels' device: a permutation, the same one on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    shuffled_labels = labels.cpu()[shuffled]
    by_class = shuffled_labels.argsort(stable=True)
    sizes = torch.bincount(shuffled_labels)
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(labels)) - starts[shuffled_labels[by_class]]
    # Classes of one size share their positions exactly; the stable sort leaves them as they were shuffled.
    position = (2 * rank + 1).double() / sizes[shuffled_labels]
    return shuffled[position.argsort(stable=True)].to(labels.device)
