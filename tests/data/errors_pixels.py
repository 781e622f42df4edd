"""Errors of columns and pixels that are not what they should be; ``test_errors`` raises each."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from PIL import Image

from retconv.data import CorruptDataError
from retconv.data.registry import SPECS
from retconv.data.sources.decode import decode
from tests.data.errors import images_of, loading, write
from tests.data.on_disk import png, random_split
from tests.error_table import Error

IMAGE = images_of(png(random_split(0, 1, 32, 1)[0][0]))


def columns(**values: object) -> Callable[[], object]:
    return loading(lambda root: write(root, **({"image": IMAGE, "label": [1]} | values)))


def pixels(mode: str, kind: str, value: object) -> Callable[[], object]:
    def call() -> None:
        file = io.BytesIO()
        Image.new(mode, (32, 32), value).save(file, kind)  # type: ignore[arg-type]
        decode([file.getvalue()], SPECS["cifar10"], lambda i: f"row {i}")

    return call


def palette() -> None:
    image = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).convert("P")
    file = io.BytesIO()
    image.save(file, "png", transparency=3)
    decode([file.getvalue()], SPECS["cifar10"], lambda i: f"row {i}")


TABLES: dict[str, dict[str, Error]] = {
    "pixels": {
        "images without a struct": (
            columns(image=[b"PNG"]),
            CorruptDataError,
            "holds binary in column 'image', where images are structs whose field 'bytes' is a PNG or JPEG",
        ),
        "images by their path": (
            columns(image=pa.array([{"path": "a.png"}])),
            CorruptDataError,
            "holds struct<path: string> in column 'image'.*it with datasets.Image",
        ),
        "classes by name": (
            columns(label=["cat"]),
            CorruptDataError,
            "holds string in column 'label', where classes are integers from 0: number them",
        ),
        "fractions": (columns(label=[0.5]), CorruptDataError, "holds double in column 'label'"),
        "image that is null": (
            columns(image=pa.array([None], IMAGE.type)),
            CorruptDataError,
            "has no bytes in column 'image' at row 0: remove the row",
        ),
        "class that is null": (
            columns(label=pa.array([None], pa.int64())),
            CorruptDataError,
            "has None in column 'label' at row 0",
        ),
        "negative class": (
            columns(label=[-1]),
            CorruptDataError,
            "has -1 in column 'label' at row 0, where classes count from 0: is the split unlabelled",
        ),
        "inks": (pixels("CMYK", "jpeg", (9, 9, 9, 9)), CorruptDataError, "row 0 has pixels of kind CMYK.* to RGB"),
        "real numbers": (pixels("F", "tiff", 0.5), CorruptDataError, "row 0 has pixels of kind F"),
        "32 bits": (pixels("I", "tiff", 70000), CorruptDataError, "row 0 has pixels of kind I,"),
        "transparent": (
            pixels("RGBA", "png", (9, 9, 9, 254)),
            CorruptDataError,
            "row 0 is transparent in places: put it on a background, and store it as RGB",
        ),
        "transparent in a palette": (palette, CorruptDataError, "row 0 is transparent in places"),
    }
}
