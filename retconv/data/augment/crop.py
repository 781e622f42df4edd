"""Random crops of padded images, and mirror images."""

from __future__ import annotations

import torch
from torch import Tensor


def crop_and_flip(images: Tensor, top: Tensor, left: Tensor, flip: Tensor, padding: int, fill: Tensor) -> Tensor:
    """Cut each image, with a border around it, to its size again, at its own place; then mirror some.

    Args:
        images: ``(B, C, H, W)``.
        top: int64 ``(B,)`` in 0 … 2 · padding: first row of the cut in the bordered image; ``padding`` moves nothing.
        left: The same for columns.
        flip: bool ``(B,)``: whether left and right are exchanged after the cut.
        padding: Width of the border, in pixels.
        fill: ``(C,)`` of the images' dtype: the border's colour.

    Returns:
        ``(B, C, H, W)``.
    """
    b, c, h, w = images.shape
    bordered = fill.view(1, c, 1, 1).repeat(b, 1, h + 2 * padding, w + 2 * padding)
    bordered[:, :, padding : padding + h, padding : padding + w] = images
    column = torch.arange(w, device=images.device)
    columns = left[:, None] + torch.where(flip[:, None], column.flip(0), column)
    rows = top[:, None] + torch.arange(h, device=images.device)
    pixels = rows[:, :, None] * (w + 2 * padding) + columns[:, None, :]  # shape: (B, H, W)
    return bordered.flatten(2).gather(2, pixels.view(b, 1, h * w).expand(-1, c, -1)).view(b, c, h, w)
