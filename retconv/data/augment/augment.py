"""The whole chain from uint8 images to normalised inputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch import Tensor

from retconv.data.augment.crop import crop_and_flip
from retconv.data.augment.erasing import Erasing, erase
from retconv.data.augment.operations import apply
from retconv.data.augment.policies import Policy
from retconv.data.dataset import Dataset


@dataclass(frozen=True)
class Draw:
    """All random choices of a batch; row b of each tensor is of sample b.

    Attributes:
        top: First row of the crop, int64 ``(B,)``.
        left: First column of the crop, int64 ``(B,)``.
        flip: Whether it is mirrored, bool ``(B,)``.
        operations: Chain of operations, int64 ``(B, depth)``.
        magnitudes: Their magnitudes, float64 ``(B, depth)``.
        boxes: Erased rectangles, int64 ``(B, 4)``: top, left, height, width.
    """

    top: Tensor
    left: Tensor
    flip: Tensor
    operations: Tensor
    magnitudes: Tensor
    boxes: Tensor

    @classmethod
    def cat(cls, draws: Sequence[Draw]) -> Draw:
        """The draws of several batches as those of one: replicas that draw apart are then augmented together."""
        return cls(*(torch.cat([getattr(draw, field.name) for draw in draws]) for field in fields(cls)))

    def __getitem__(self, rows: slice) -> Draw:
        """The draws of some samples."""
        return Draw(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: torch.device) -> Draw:
        """The draws where images are augmented; the host keeps the operations, which it is to launch."""
        top, left, flip, boxes = (sent(x, device) for x in (self.top, self.left, self.flip, self.boxes))
        return Draw(top, left, flip, self.operations, self.magnitudes, boxes)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host on a device, without holding the host up: from pinned memory, where that matters."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


@dataclass(frozen=True)
class Augment:
    """Random crop, mirror image, policy, normalisation, random erasing, in this order.

    The choices come from a generator on the host alone, so they are the same on every device, and a sample's result
    depends on its own choices only, not on its companions in the batch.

    Attributes:
        mean: Of each channel, in units of [0, 1].
        std: Standard deviation of each channel, in units of [0, 1].
        flip: Whether half of the images are mirrored.
        padding: Width of the border around an image before it is cut to its size again, in pixels.
        policy: Of ``POLICIES``, or None.
        erasing: How rectangles are erased, or None.
        fill: Colour, 0 … 255, of what crops and geometric operations bring in from outside; black, as torchvision's.

    Example:
        >>> augment = Augment.of(load("cifar10"), policy=POLICIES["trivialaugment"])
        >>> inputs = augment(images, torch.Generator().manual_seed(0))
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    padding: int = 4
    policy: Policy | None = None
    erasing: Erasing | None = None
    fill: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(
        cls,
        data: Dataset,
        padding: int = 4,
        policy: Policy | None = None,
        erasing: Erasing | None = None,
        fill: tuple[int, int, int] = (0, 0, 0),
    ) -> Augment:
        """For a data set, with its statistics and, if it allows that, with mirror images."""
        return cls(data.mean, data.std, data.flip, padding, policy, erasing, fill)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Draw:
        """Make all random choices for ``count`` images of a size.

        Args:
            count: Number of images, B.
            height: Of an image, in pixels.
            width: Of an image, in pixels.
            generator: On the CPU; its state afterwards depends on its state before and on these arguments alone.

        Raises:
            ValueError: If the generator is on another device.
        """
        if generator.device.type != "cpu":
            raise ValueError(
                f"the choices are drawn on the CPU, so that no device is waited for, but the generator is on "
                f"{generator.device}: give a plain torch.Generator(), whose draws are the same for images on any device"
            )
        top, left = torch.randint(2 * self.padding + 1, (2, count), generator=generator)
        flip = torch.rand(count, generator=generator) < (0.5 if self.flip else 0.0)
        operations = torch.empty(count, 0, dtype=torch.int64)
        magnitudes = torch.empty(count, 0, dtype=torch.float64)
        boxes = torch.zeros(count, 4, dtype=torch.int64)
        if self.policy is not None:
            operations, magnitudes = self.policy.draw(count, height, width, generator)
        if self.erasing is not None:
            boxes = self.erasing.draw(count, height, width, generator)
        return Draw(top, left, flip, operations, magnitudes, boxes)

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Augment and normalise a batch.

        Args:
            images: uint8 ``(B, 3, H, W)``, on any device.
            draw: Its choices.

        Returns:
            float32 ``(B, 3, H, W)``, on the same device.

        Raises:
            ValueError: If the images are of another form, or as many choices were not drawn.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[:2] != (len(draw.top), 3):
            raise ValueError(
                f"expected uint8 images ({len(draw.top)}, 3, H, W) for {len(draw.top)} draws, "
                f"got {images.dtype} {tuple(images.shape)}"
            )
        top, left, flip, boxes = (
            choice.to(images.device, non_blocking=True) for choice in (draw.top, draw.left, draw.flip, draw.boxes)
        )
        fill = _constant(self.fill, torch.uint8, images.device)
        images = crop_and_flip(images, top, left, flip, self.padding, fill)
        inputs = self.normalise(apply(images, draw.operations, draw.magnitudes, fill))
        return erase(inputs, boxes) if self.erasing is not None else inputs

    def normalise(self, images: Tensor) -> Tensor:
        """``(images / 255 − mean) / std`` by channel, and nothing random: what test images get; float32."""
        scale = _constant(tuple(1 / (255 * s) for s in self.std), torch.float32, images.device)
        shift = _constant(tuple(-m / s for m, s in zip(self.mean, self.std, strict=True)), torch.float32, images.device)
        return images * scale[:, None, None] + shift[:, None, None]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw and apply: uint8 ``(B, 3, H, W)`` to float32 ``(B, 3, H, W)``."""
        return self.apply(images, self.draw(len(images), images.shape[-2], images.shape[-1], generator))


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers on a device, which is waited for once only."""
    return torch.tensor(values, dtype=dtype, device=device)
