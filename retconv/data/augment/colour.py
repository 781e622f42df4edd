"""Operations on grey levels and colours, each sample with its own magnitude.

A factor of 1 leaves an image as it is, a factor of 0 gives the degenerate image (black, grey, flat or blurred), and
others blend or extrapolate: ``factor · image + (1 − factor) · degenerate``, cut to 0 … 255, its fraction dropped.
Where the result is close to a whole number, the last bit decides on the level. Products are therefore added as
processors with a fused multiply-add do it for torchvision, with one rounding to float32; that makes results the same on
every device, while torchvision's own may differ by one level elsewhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Weights of red, green and blue, as float32 holds them.
_LUMINANCE = tuple(float(np.float32(weight)) for weight in (0.2989, 0.587, 0.114))


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return _levels(images * _per_sample(factor))


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's grey version."""
    return _blend(images, _grey(images), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the flat image of its mean grey level."""
    return _blend(images, _grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed by the kernel of ones with a 5 in the middle, over 13; the border stays."""
    if min(images.shape[-2:]) <= 2:
        return images
    sharp = images.float()
    columns = sharp[..., :-2] + sharp[..., 1:-1] + sharp[..., 2:]
    square = columns[..., :-2, :] + columns[..., 1:-1, :] + columns[..., 2:, :]
    inner = sharp[..., 1:-1, 1:-1]
    # The sum is a whole number, and no multiple of 1/13 lies halfway between two whole numbers: rounding is exact.
    smooth = ((square + 4 * inner) / 13).round()
    result = images.clone()
    step = (smooth - inner).double() * _per_sample(1 - factor).double()
    result[..., 1:-1, 1:-1] = _levels((inner + step).float())
    return result


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the given number of leading bits of each level, 0 … 8."""
    lowest = torch.pow(2.0, 8 - bits.trunc())
    return images & (256 - lowest).to(torch.uint8)[:, None, None, None]


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the levels from a threshold on, given as a share of 255."""
    return torch.where(images >= _per_sample(255 * threshold), 255 - images, images)


def _grey(images: Tensor) -> Tensor:
    """Luminance of ITU-R 601, its fraction dropped; float32 ``(B, 1, H, W)``."""
    red, green, blue = (channel * weight for channel, weight in zip(images.double().unbind(1), _LUMINANCE, strict=True))
    grey = ((red.float() + green).float() + blue).float()
    return grey.floor()[:, None]


def _blend(images: Tensor, degenerate: Tensor, factor: Tensor) -> Tensor:
    share, rest = _per_sample(factor), _per_sample(1 - factor)
    # In float64 the second product is exact, as it is inside a fused multiply-add.
    return _levels((degenerate.double() * rest.double() + images * share).float())


def _levels(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)


def _per_sample(values: Tensor) -> Tensor:
    return values.float()[:, None, None, None]
