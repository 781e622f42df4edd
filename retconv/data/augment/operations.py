"""The operations that policies choose from, and their application to a batch: every sample another one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from retconv.data.augment import colour, geometry

#: Operations of ``(images, magnitude, fill)``: uint8 ``(B, 3, H, W)``, float64 ``(B,)``, uint8 ``(3,)``. Magnitudes are
#: those of torchvision's policies: slopes, pixels, degrees, what is added to a blending factor of 1, bits, and shares.
#: The last three, which need no magnitude, torchvision itself applies to batches.
OPERATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "Identity": lambda images, magnitude, fill: images,
    "ShearX": geometry.shear_x,
    "ShearY": geometry.shear_y,
    "TranslateX": geometry.translate_x,
    "TranslateY": geometry.translate_y,
    "Rotate": geometry.rotate,
    "Brightness": lambda images, magnitude, fill: colour.brightness(images, 1 + magnitude),
    "Color": lambda images, magnitude, fill: colour.color(images, 1 + magnitude),
    "Contrast": lambda images, magnitude, fill: colour.contrast(images, 1 + magnitude),
    "Sharpness": lambda images, magnitude, fill: colour.sharpness(images, 1 + magnitude),
    "Posterize": lambda images, magnitude, fill: colour.posterize(images, magnitude),
    "Solarize": lambda images, magnitude, fill: colour.solarize(images, magnitude),
    "AutoContrast": lambda images, magnitude, fill: functional.autocontrast(images),
    "Equalize": lambda images, magnitude, fill: functional.equalize(images),
    "Invert": lambda images, magnitude, fill: functional.invert(images),
}
NAMES = tuple(OPERATIONS)


def apply(images: Tensor, operations: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Apply to each sample its own chain of operations.

    For each link of the chain samples are sorted by operation, so that every operation sees its samples as one block.
    The host knows the blocks, since it drew them: the device is never waited for.

    Args:
        images: uint8 ``(B, 3, H, W)``, on any device.
        operations: int64 ``(B, depth)`` on the CPU: positions in ``OPERATIONS``.
        magnitudes: float64 ``(B, depth)`` on the CPU; ignored by operations without one.
        fill: uint8 ``(3,)`` on the images' device: the colour of what geometric operations bring in from outside.

    Returns:
        uint8 ``(B, 3, H, W)``.
    """
    for link in range(operations.shape[1]):
        order = operations[:, link].argsort(stable=True)
        counts = torch.bincount(operations[:, link], minlength=len(OPERATIONS)).tolist()
        position = order.to(images.device, non_blocking=True)
        magnitude = magnitudes[order, link].to(images.device, non_blocking=True)
        images = images[position]
        start = 0
        for operation, count in zip(OPERATIONS.values(), counts, strict=True):
            block = slice(start, start + count)
            if count and operation is not OPERATIONS["Identity"]:
                images[block] = operation(images[block], magnitude[block], fill)
            start += count
        images = torch.empty_like(images).index_copy_(0, position, images)
    return images
