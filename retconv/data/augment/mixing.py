"""Mixup and CutMix of whole batches: each batch, and each of several stacked ones, by its own draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed with their own reverse, with timm's distributions (``timm.data.Mixup``, mode "batch").

    Attributes:
        mixup: Alpha of Mixup (Zhang et al. 2018, arXiv 1710.09412); 0: off.
        cutmix: Alpha of CutMix (Yun et al. 2019, arXiv 1905.04899); 0: off. With both, either is as likely.
        probability: That a batch is mixed at all.
    """

    mixup: float
    cutmix: float
    probability: float = 1.0

    def draw(self, count: int, height: int, width: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw for ``count`` batches of images of a size.

        Returns:
            The share λ of a batch's own pixels, float32 ``(count,)``, 1 where it is not mixed; and the rectangle that
            comes from the reverse, int64 ``(count, 4)``: top, bottom, left, right, empty where Mixup blends instead.
        """
        cut = generator.random(count) < (0.5 if self.mixup and self.cutmix else float(self.cutmix > 0))
        alpha = np.where(cut, self.cutmix, self.mixup)
        active = (generator.random(count) < self.probability) & (alpha > 0)
        share = np.where(active, generator.beta(np.where(alpha > 0, alpha, 1.0), np.where(alpha > 0, alpha, 1.0)), 1.0)
        side = np.sqrt(1 - share)
        edges = []
        for length in (height, width):
            extent, centre = (length * side).astype(np.int64), generator.integers(length, size=count)
            edges += [np.clip(centre - extent // 2, 0, length), np.clip(centre + (extent + 1) // 2, 0, length)]
        boxes = np.where((cut & active)[:, None], np.stack(edges, axis=1), 0)
        area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
        share = np.where(cut & active, 1 - area / (height * width), share)
        return torch.from_numpy(share.astype(np.float32)), torch.from_numpy(boxes)

    def apply(self, images: Tensor, share: Tensor, boxes: Tensor) -> Tensor:
        """Mix stacked batches.

        Args:
            images: ``(R, batch, C, H, W)``.
            share: λ of each, ``(R,)``, on the images' device.
            boxes: Their rectangles, ``(R, 4)``, on the images' device.

        Returns:
            ``(R, batch, C, H, W)``.
        """
        top, bottom, left, right = boxes[:, :, None].unbind(1)  # shape: (R, 1) each
        row, column = (torch.arange(n, device=images.device) for n in images.shape[-2:])
        inside = ((row >= top) & (row < bottom))[:, :, None] & ((column >= left) & (column < right))[:, None, :]
        blends = (top == bottom) | (left == right)
        own = torch.where(blends[..., None], share[:, None, None], (~inside).to(share.dtype))  # shape: (R, H, W)
        own = own[:, None, None]
        return images * own + images.flip(1) * (1 - own)


def soft_targets(labels: Tensor, classes: int, smoothing: float, share: Tensor | None = None) -> Tensor:
    """Smoothed targets of stacked batches, mixed with their own reverse.

    Args:
        labels: int64 ``(R, batch)``.
        classes: Number of classes.
        smoothing: Probability that is spread over all classes.
        share: λ of each batch, ``(R,)``; without, nothing is mixed.

    Returns:
        float32 ``(R, batch, classes)``, each row summing to 1.
    """
    off = smoothing / classes
    kinds = torch.arange(classes, device=labels.device)
    targets = (labels[..., None] == kinds) * (1.0 - smoothing) + off
    return targets if share is None else torch.lerp(targets.flip(1), targets, share[:, None, None])
