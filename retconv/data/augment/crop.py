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
    if padding:
        b, c, h, w = images.shape
        bordered = fill.view(1, c, 1, 1).repeat(b, 1, h + 2 * padding, w + 2 * padding)
        bordered[:, :, padding:-padding, padding:-padding] = images
        # shape: (B, C, 2 padding + 1, 2 padding + 1, H, W): every cut of every image, as a view.
        cuts = bordered.unfold(2, h, 1).unfold(3, w, 1)
        images = cuts[torch.arange(b, device=images.device), :, top, left]
    return torch.where(flip[:, None, None, None], images.flip(-1), images)
