"""The operations that policies choose from, and their application to a batch: every sample another one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms.v2 import functional

from retconv.data.augment import colour, geometry


def _move(name: str, images: Tensor, magnitude: Tensor, fill: Tensor) -> Tensor:
    amounts = torch.zeros(len(magnitude), len(geometry.NAMES), dtype=torch.float64)
    amounts[:, geometry.NAMES.index(name)] = magnitude.cpu()
    return geometry.move(images, amounts, fill)


#: Operations of ``(images, magnitude, fill)``: uint8 ``(B, 3, H, W)``, float64 ``(B,)``, uint8 ``(3,)``. Magnitudes are
#: those of torchvision's policies: slopes, pixels, degrees, what is added to a blending factor of 1, bits, and shares.
#: The last three, which need no magnitude, torchvision itself applies to batches.
OPERATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "Identity": lambda images, magnitude, fill: images,
    **{name: partial(_move, name) for name in geometry.NAMES},
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
_FIRST_MOVE = NAMES.index(geometry.NAMES[0])
_FIRST_COLOUR = _FIRST_MOVE + len(geometry.NAMES)


def apply(images: Tensor, operations: Tensor, magnitudes: Tensor, fill: Tensor) -> Tensor:
    """Apply to each sample its own chain of operations.

    For each link of the chain samples are sorted by operation, so that every operation sees its samples as one block;
    shears, translations and rotations are one block together. The host knows the blocks, since it drew them: the device
    is never waited for.

    Args:
        images: uint8 ``(B, 3, H, W)``, on any device.
        operations: int64 ``(B, depth)`` on the CPU: positions in ``OPERATIONS``.
        magnitudes: float64 ``(B, depth)`` on the CPU; ignored by operations without one.
        fill: uint8 ``(3,)`` on the images' device: the colour of what geometric operations bring in from outside.

    Returns:
        uint8 ``(B, 3, H, W)``.
    """
    for drawn, strength in zip(operations.unbind(1), magnitudes.unbind(1), strict=True):
        order = drawn.argsort(stable=True)
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        # shape: (len(OPERATIONS) + 1,): where each operation's block starts in that order.
        start = [0, *torch.bincount(drawn, minlength=len(OPERATIONS)).cumsum(0).tolist()]
        images = images.index_select(0, order.to(images.device, non_blocking=True))
        strength = strength[order]
        magnitude = strength.to(images.device, non_blocking=True)
        moved = slice(start[_FIRST_MOVE], start[_FIRST_COLOUR])
        if moved.stop > moved.start:
            which = one_hot(drawn[order[moved]] - _FIRST_MOVE, len(geometry.NAMES))
            images[moved] = geometry.move(images[moved], which * strength[moved, None], fill)
        for k, name in enumerate(NAMES[_FIRST_COLOUR:], _FIRST_COLOUR):
            block = slice(start[k], start[k + 1])
            if block.stop > block.start:
                images[block] = OPERATIONS[name](images[block], magnitude[block], fill)
        images = images.index_select(0, place.to(images.device, non_blocking=True))
    return images
