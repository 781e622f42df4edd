"""Shear, translation and rotation: each sample by its own inverse affine map, sampled at the nearest pixel.

In coordinates whose origin is the image's centre, the output pixel at ``(x, y)`` shows the input at
``(a x + b y + c, d x + e y + f)``; places outside the image show the fill colour. Most maps put some pixels exactly
between two others, where rounding decides which one is shown, so coordinates are computed in float32, each product and
sum by itself: every CPU shows the same one. Torchvision's own depend on how the processor multiplies matrices, and on
other devices than the CPU such ties may fall the other way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

#: What a row of amounts stands for, in this order, and by which names policies know it.
NAMES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def move(images: Tensor, amounts: Tensor, fill: Tensor) -> Tensor:
    """Move each image in one way: a shear, a translation or a rotation.

    Args:
        images: uint8 ``(B, C, H, W)``.
        amounts: float64 ``(B, 5)`` on the CPU, of which at most one in a row differs from 0: the slope of a shear that
            moves row i left by ``slope · (i + ½)``; that of one that moves column j up by as much for j; pixels to the
            right and pixels down, whose fractions are dropped; degrees counter-clockwise about the centre.
        fill: uint8 ``(C,)``.

    Returns:
        uint8 ``(B, C, H, W)``.
    """
    h, w = images.shape[-2:]
    shear_x, shear_y, right, down, degrees = amounts.unbind(1)
    cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    # Shears leave the upper left corner where it is, hence the halves of the sides.
    first = torch.stack([cos, shear_x - sin, shear_x * (h / 2) - right.trunc()], dim=1)
    second = torch.stack([shear_y + sin, cos, shear_y * (w / 2) - down.trunc()], dim=1)
    # grid_sample counts from −1 to 1 across the image.
    matrix = torch.stack([first, second], dim=1).float() / torch.tensor([[w / 2], [h / 2]])
    return warp(images, matrix.to(images.device, non_blocking=True), fill)


def warp(images: Tensor, matrix: Tensor, fill: Tensor) -> Tensor:
    """Show each image through its own affine map.

    Args:
        images: uint8 ``(B, C, H, W)``.
        matrix: float32 ``(B, 2, 3)`` on the images' device: rows ``(a, b, c)`` over W / 2 and ``(d, e, f)`` over H / 2,
            from output pixels from the centre to input places in −1 … 1.
        fill: uint8 ``(C,)``.

    Returns:
        uint8 ``(B, C, H, W)``.
    """
    h, w = images.shape[-2:]
    x = torch.linspace((1 - w) / 2, (w - 1) / 2, w, device=images.device)
    y = torch.linspace((1 - h) / 2, (h - 1) / 2, h, device=images.device)
    a, b, c = matrix[:, :, None, None].unbind(-1)  # shape: (B, 2, 1, 1) each
    grid = (x * a + y[:, None] * b + c).permute(0, 2, 3, 1)  # shape: (B, H, W, 2)
    # What lies outside is sampled as 0, so the fill colour is made the zero of the scale.
    zero = fill.view(1, -1, 1, 1).float()
    sampled = grid_sample(images.float() - zero, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (sampled + zero).to(torch.uint8)
