"""What every source gives: arrays, all of one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retconv.data.errors import CorruptDataError
from retconv.data.registry import Spec


@dataclass(frozen=True)
class Arrays:
    """A decoded data set.

    Attributes:
        train_images: uint8 ``(n, 3, H, W)``.
        train_labels: int64 ``(n,)``.
        test_images: uint8 ``(m, 3, H, W)``.
        test_labels: int64 ``(m,)``.
        classes: A name for each label.
        levels: int64 ``(3, 256)``: how many training pixels have each level, channel by channel.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    levels: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        train: tuple[NDArray[np.uint8], NDArray[np.int64]],
        test: tuple[NDArray[np.uint8], NDArray[np.int64]],
        classes: tuple[str, ...],
    ) -> Arrays:
        """Arrays of two splits, each given as images and labels."""
        return cls(*train, *test, classes=classes, levels=_count_levels(train[0]))

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over all training pixels, in units of [0, 1]."""
        level = np.arange(256) / 255
        share = self.levels / self.levels.sum(axis=1, keepdims=True)
        mean = share @ level
        std = np.sqrt((share * (level - mean[:, None]) ** 2).sum(axis=1))
        return tuple(mean.tolist()), tuple(std.tolist())

    def require(self, spec: Spec) -> None:
        """Check that these arrays are the data set they should be.

        Raises:
            CorruptDataError: If a shape, a type or a label is not the data set's.
        """
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            expected = (len(labels), 3, spec.size, spec.size)
            if images.shape != expected or images.dtype != np.uint8 or len(labels) == 0:
                raise CorruptDataError(
                    f"{spec.name}: the {split} images are {images.dtype} {images.shape} where "
                    f"uint8 {expected} with at least one image is expected"
                )
            if labels.dtype != np.int64 or labels.min() < 0 or labels.max() >= spec.classes:
                raise CorruptDataError(
                    f"{spec.name}: the {split} labels are {labels.dtype} from {labels.min()} to {labels.max()} where "
                    f"int64 from 0 to {spec.classes - 1} is expected"
                )
        if self.levels.shape != (3, 256) or 3 * self.levels[0].sum() != self.train_images.size:
            raise CorruptDataError(
                f"{spec.name}: the counts of levels are not those of {len(self.train_images)} images"
            )
        if len(self.classes) != spec.classes:
            raise CorruptDataError(f"{spec.name}: {len(self.classes)} classes are named where {spec.classes} exist")


@dataclass(frozen=True)
class Source:
    """A data set found on a disk, not read yet.

    Attributes:
        form: What it is, in a word or two, for messages and provenance.
        files: All that it consists of; their contents name its cache. Without files there is no cache.
        read: Reads and decodes it.
    """

    form: str
    files: tuple[Path, ...]
    read: Callable[[], Arrays]


def _count_levels(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts = np.zeros((images.shape[1], 256), np.int64)
    # bincount makes int64 copies, so it is given a few images at a time.
    for start in range(0, len(images), 500):
        for channel, count in enumerate(counts):
            count += np.bincount(images[start : start + 500, channel].ravel(), minlength=256)
    return counts


def three_channels(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey images ``(n, H, W)`` as ``(n, 3, H, W)`` with equal channels."""
    return np.repeat(grey[:, None], 3, axis=1)
