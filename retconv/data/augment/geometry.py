"""Shear, translation and rotation: each sample by its own inverse affine map, sampled at the nearest pixel.

In coordinates whose origin is the image's centre, the output pixel at ``(x, y)`` shows the input at
``(a x + b y + c, d x + e y + f)``; places outside the image show the fill colour. Most maps put some pixels exactly
between two others, where rounding decides which one is shown, so coordinates are computed in float32 in torchvision's
order of operations. On other devices than the CPU such ties may fall the other way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def shear_x(images: Tensor, slope: Tensor, fill: Tensor) -> Tensor:
    """Row i shows its input shifted by ``slope · (i + ½)`` columns: ``(x + slope · (y + H/2), y)``."""
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return warp(images, _matrix(one, slope, slope * (images.shape[-2] / 2), zero, one, zero), fill)


def shear_y(images: Tensor, slope: Tensor, fill: Tensor) -> Tensor:
    """Column j shows its input shifted by ``slope · (j + ½)`` rows: ``(x, y + slope · (x + W/2))``."""
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return warp(images, _matrix(one, zero, zero, slope, one, slope * (images.shape[-1] / 2)), fill)


def translate_x(images: Tensor, columns: Tensor, fill: Tensor) -> Tensor:
    """Move right by a whole number of columns: the fraction is dropped."""
    one, zero = torch.ones_like(columns), torch.zeros_like(columns)
    return warp(images, _matrix(one, zero, -columns.trunc(), zero, one, zero), fill)


def translate_y(images: Tensor, rows: Tensor, fill: Tensor) -> Tensor:
    """Move down by a whole number of rows: the fraction is dropped."""
    one, zero = torch.ones_like(rows), torch.zeros_like(rows)
    return warp(images, _matrix(one, zero, zero, zero, one, -rows.trunc()), fill)


def rotate(images: Tensor, degrees: Tensor, fill: Tensor) -> Tensor:
    """Turn counter-clockwise about the centre."""
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return warp(images, _matrix(cos, -sin, zero, sin, cos, zero), fill)


def warp(images: Tensor, matrix: Tensor, fill: Tensor) -> Tensor:
    """Show each image through its own affine map.

    Args:
        images: uint8 ``(B, C, H, W)``.
        matrix: float64 ``(B, 2, 3)``: rows ``(a, b, c)`` and ``(d, e, f)``, from output to input, in pixels from the
            centre.
        fill: uint8 ``(C,)``.

    Returns:
        uint8 ``(B, C, H, W)``.
    """
    h, w = images.shape[-2:]
    # grid_sample counts from −1 to 1 across the image.
    scaled = matrix.float() / matrix.new_tensor([[w / 2], [h / 2]], dtype=torch.float32)
    x = torch.linspace((1 - w) / 2, (w - 1) / 2, w, device=images.device)
    y = torch.linspace((1 - h) / 2, (h - 1) / 2, h, device=images.device)
    a, b, c = scaled[:, :, None, None].unbind(-1)  # shape: (B, 2, 1, 1) each
    grid = (x * a + y[:, None] * b + c).permute(0, 2, 3, 1)  # shape: (B, H, W, 2)
    # What lies outside is sampled as 0, so the fill colour is made the zero of the scale.
    zero = fill.view(1, -1, 1, 1).float()
    sampled = grid_sample(images.float() - zero, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (sampled + zero).to(torch.uint8)


def _matrix(*entries: Tensor) -> Tensor:
    return torch.stack(entries, dim=-1).unflatten(-1, (2, 3))
