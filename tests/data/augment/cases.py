"""Pictures, and what torchvision makes of one of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide

BLACK, PINK = torch.tensor([0, 0, 0], dtype=torch.uint8), torch.tensor([250, 0, 130], dtype=torch.uint8)
oracle_of = TrivialAugmentWide()


def oracle(image: Tensor, name: str, magnitude: float, fill: Tensor = BLACK) -> Tensor:
    """One sample through torchvision's own table of operations; Invert is only in AutoAugment's, which shares it."""
    colour = {torch.Tensor: None if not fill.any() else fill.tolist()}
    return oracle_of._apply_image_or_video_transform(
        image, name, magnitude, interpolation=InterpolationMode.NEAREST, fill=colour
    )


def pictures(seed: int, count: int, height: int, width: int) -> Tensor:
    """Half noise, half smooth: noise has every level, smooth pictures have few, with flat channels among them."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    low = torch.randint(256, (count, 3, 1, 1), generator=generator)
    slope = torch.randint(-3, 4, (count, 3, 1, 1), generator=generator)
    smooth = (low + slope * torch.arange(width)).clamp(0, 255).to(torch.uint8).expand(-1, -1, height, -1)
    return torch.where((torch.arange(count) % 2 == 0)[:, None, None, None], noise, smooth)
