"""Compressed images to one uint8 array, in threads: the decoders of Pillow work outside Python's lock."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from retconv.data.errors import CorruptDataError
from retconv.data.registry import Spec

_CHUNK = 256
#: Kinds of pixels that Pillow turns into RGB by themselves; inks and Lab colours need a profile.
_PLAIN = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"}


def decode(encoded: Sequence[bytes | Path], spec: Spec, name: Callable[[int], str]) -> NDArray[np.uint8]:
    """Decode JPEG, PNG or any other images that Pillow reads.

    Args:
        encoded: Each image as bytes or as a path.
        spec: The data set, which gives their size.
        name: What to call image i in a message.

    Returns:
        uint8 ``(n, 3, H, W)``, turned upright as their EXIF data say; grey images get three equal channels, and 16 bits
        become 8. Images ``spec.reduce`` times too large are averaged over squares of that many pixels.

    Raises:
        CorruptDataError: If an image cannot be decoded, is of another size, or does not say which RGB it is.
    """
    images = np.empty((len(encoded), 3, spec.size, spec.size), np.uint8)
    large = spec.size * spec.reduce

    def decode_chunk(start: int) -> None:
        for i in range(start, min(start + _CHUNK, len(encoded))):
            item = encoded[i]
            try:
                with Image.open(item if isinstance(item, Path) else io.BytesIO(item)) as opened:
                    opened.load()
                    image = _rgb(opened, name(i))
            except CorruptDataError:
                raise
            except (OSError, SyntaxError, ValueError, UnidentifiedImageError, TypeError) as error:
                raise CorruptDataError(f"{name(i)} is no image that can be decoded ({error}); get it again") from error
            if image.size == (large, large):
                image = image.reduce(spec.reduce)
            if image.size != (spec.size, spec.size):
                raise CorruptDataError(
                    f"{name(i)} is {image.size[0]}×{image.size[1]} pixels, those of {spec.name} are "
                    f"{spec.size}×{spec.size}: is this another data set?"
                )
            images[i] = np.asarray(image).transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode_chunk, range(0, len(encoded), _CHUNK)))
    return images


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """An image as RGB, where it says which."""
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG"):
        # Pillow would cut off what is above 255.
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if image.mode not in _PLAIN:
        raise CorruptDataError(f"{name} has pixels of kind {image.mode}, which are no RGB yet: convert it to RGB")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise CorruptDataError(f"{name} is transparent in places: put it on a background, and store it as RGB")
    return ImageOps.exif_transpose(image).convert("RGB")
