"""Images as they come, tensors or loaders, as batches that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

#: Images ``(N, channels, height, width)`` (or videos, of one axis more), or an iterable of batches of them: tensors,
#: sequences that start with one such as ``(images, labels)``, or mappings with ``"pixel_values"``.
Images = Tensor | Iterable[Any]


def batches(images: Images, most: Callable[[], int], limit: int | None = None) -> Iterator[Tensor]:
    """Read images once, in order, in batches of bounded size.

    Args:
        images: The images.
        most: Asked before each batch: how many images it may have.
        limit: Read no more than so many images in all.

    Yields:
        Batches ``(at most most(), channels, height, width)``.

    Raises:
        ValueError: If there is no image, a batch is not of that form, or sizes differ.
        TypeError: If a batch is neither a tensor nor holds one where it is looked for.
    """
    size: tuple[int, ...] | None = None
    taken = 0
    for batch in [images] if isinstance(images, Tensor) else images:
        pixels = _pixels(batch)
        if pixels.ndim not in (4, 5) or not pixels.is_floating_point():
            raise ValueError(
                f"images must be normalised, floating (batch, channels, height, width), got {pixels.dtype} of shape "
                f"{tuple(pixels.shape)}: give one image as image[None], and bytes through the model's own transform"
            )
        size = tuple(pixels.shape[1:]) if size is None else size
        if tuple(pixels.shape[1:]) != size:
            raise ValueError(f"images must all be of one size, got {size} and then {tuple(pixels.shape[1:])}")
        place = 0
        while place < len(pixels) and (limit is None or taken < limit):
            count = min(most(), len(pixels) - place, *([] if limit is None else [limit - taken]))
            yield pixels[place : place + count]
            place, taken = place + count, taken + count
        if limit is not None and taken >= limit:
            return
    if not taken:
        raise ValueError("there are no images: give at least one, as a tensor (N, channels, height, width) or batches")


def _pixels(batch: Any) -> Tensor:
    """The images of a batch."""
    if isinstance(batch, Mapping):
        batch = batch.get("pixel_values")
    elif isinstance(batch, list | tuple) and batch:
        batch = batch[0]
    if not isinstance(batch, Tensor):
        raise TypeError(
            f"a batch of images must be a tensor, (images, labels), or a mapping with 'pixel_values', got "
            f"{type(batch).__name__}"
        )
    return batch
