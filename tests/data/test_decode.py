"""Images of every kind of pixels: decoded right, or refused (``errors_pixels``)."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retconv.data.registry import SPECS
from retconv.data.sources.decode import decode

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (32, 32), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def decoded(image: Image.Image | bytes, kind: str = "png", **options: object) -> NDArray[np.uint8]:
    """Height, width and channels of an image that goes through a file."""
    if isinstance(image, Image.Image):
        file = io.BytesIO()
        image.save(file, kind, **options)
        image = file.getvalue()
    return decode([image], SPECS["cifar10"], str)[0].transpose(1, 2, 0)


def png16(pixels: NDArray[np.uint16]) -> bytes:
    """PNG of 16 bits and one or three channels, which Pillow does not write, by its specification."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_16_bits_become_8(pixels: NDArray[np.uint8]) -> None:
    """What 8 bits were is itself again; all other values go to the nearest level, within one of colours."""
    expected = np.broadcast_to(pixels.reshape(32, 32, -1), (32, 32, 3))
    np.testing.assert_array_equal(decoded(png16(pixels.astype(np.uint16) * 257)), expected)
    fine = RNG.integers(0, 65536, pixels.shape, dtype=np.uint16)
    nearest = np.broadcast_to((fine / 257).reshape(32, 32, -1), (32, 32, 3))
    assert np.abs(decoded(png16(fine)) - nearest).max() <= (0.5 if pixels.ndim == 2 else 1.0)


def test_a_mean_of_123_stays_one() -> None:
    assert decoded(png16(np.full((32, 32), 123 * 257, np.uint16))).mean() == 123
    assert decoded(Image.fromarray(np.full((32, 32), 123 * 257, np.uint16)), "tiff").mean() == 123


def test_kinds_of_8_bits_and_fewer() -> None:
    """Grey, black and white, palettes, and alpha that hides nothing."""
    grey = Image.fromarray(GREY)
    np.testing.assert_array_equal(decoded(grey), GREY[..., None].repeat(3, -1))
    np.testing.assert_array_equal(decoded(Image.fromarray(GREY > 99)), (255 * (GREY > 99)[..., None]).repeat(3, -1))
    palette = Image.fromarray(COLOUR).quantize(16)
    np.testing.assert_array_equal(decoded(palette), np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(decoded(Image.fromarray(COLOUR).convert("RGBA")), COLOUR)
    np.testing.assert_array_equal(decoded(grey.convert("LA")), GREY[..., None].repeat(3, -1))


@pytest.mark.parametrize(
    ("orientation", "stored"),
    {1: COLOUR, 3: np.rot90(COLOUR, 2), 6: np.rot90(COLOUR), 8: np.rot90(COLOUR, -1), 2: COLOUR[:, ::-1]}.items(),
)
def test_images_are_turned_upright(orientation: int, stored: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif), COLOUR)
