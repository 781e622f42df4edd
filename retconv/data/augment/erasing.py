"""Random erasing (Zhong et al. 2020): a rectangle of each chosen image gets the mean colour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Erasing:
    """How rectangles are drawn, as in ``torchvision.transforms.v2.RandomErasing``.

    Attributes:
        probability: That an image gets one.
        scale: Smallest and largest area, as a share of the image's; the paper takes 0.02 … 0.4.
        ratio: Smallest and largest height over width, uniform on a logarithmic scale.
        attempts: How often a rectangle that does not fit is drawn anew, before the image is left whole.
    """

    probability: float
    scale: tuple[float, float] = (0.02, 0.4)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    attempts: int = 10

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw one rectangle for each of ``count`` images.

        Returns:
            int64 ``(count, 4)`` on the CPU: top, left, height, width; without extent where nothing is erased.
        """
        uniform = torch.rand(5, count, self.attempts, generator=generator, dtype=torch.float64)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * uniform[0])
        low, high = map(math.log, self.ratio)
        aspect = (low + (high - low) * uniform[1]).exp()
        h, w = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (h < height) & (w < width)
        top, left = ((height - h + 1) * uniform[2]).floor(), ((width - w + 1) * uniform[3]).floor()
        first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # argmax gives the first of equals
        boxes = torch.stack([top, left, h, w], dim=-1).take_along_dim(first[..., None], dim=1)[:, 0]
        erased = fits.any(dim=1) & (uniform[4, :, 0] < self.probability)
        return torch.where(erased[:, None], boxes, 0.0).long()


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Set rectangles to 0.

    After normalisation 0 is the mean colour of the data set, so that erasing takes information away and adds none. The
    reference's code writes the mean of the images before normalisation, which after it is another colour.

    Args:
        images: ``(B, C, H, W)``, normalised, finite.
        boxes: int64 ``(B, 4)`` on the images' device: top, left, height, width.

    Returns:
        ``(B, C, H, W)``.
    """
    top, left, height, width = boxes[:, :, None].unbind(1)  # shape: (B, 1) each
    row, column = (torch.arange(n, device=images.device) for n in images.shape[-2:])
    outside_rows = ((row < top) | (row >= top + height)).to(images.dtype)
    outside_columns = ((column < left) | (column >= left + width)).to(images.dtype)
    return images * torch.maximum(outside_rows[:, :, None], outside_columns[:, None, :])[:, None]
