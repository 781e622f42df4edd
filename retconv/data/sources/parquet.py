"""Parquet shards in the Hugging Face layout: compressed images in ``image.bytes``, their class in ``label``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retconv.data.errors import CorruptDataError
from retconv.data.registry import Spec
from retconv.data.sources.arrays import Arrays, Source
from retconv.data.sources.decode import decode
from retconv.extras import extra

#: Names that data sets on the hub give to the two columns.
_IMAGE, _LABEL = ("image", "img"), ("label", "fine_label")
#: Of SVHN's two configurations, the one with whole photographs.
_OTHER = "full_numbers"
#: How the hub names one of several shards.
_NUMBERED = re.compile(r"(.+)-(\d+)-of-(\d+)")


def find_parquet(spec: Spec, root: Path) -> Source | None:
    """Shards named ``train*.parquet`` and ``test*.parquet`` (``val*`` of Tiny-ImageNet), at any depth of the folder.

    Raises:
        CorruptDataError: If a folder has shards of one split and none of the other, or lacks one that names count.
    """
    for folder in (root / name for name in spec.folders):
        shards = [path for path in sorted(folder.rglob("*.parquet")) if _OTHER not in path.parts]
        splits = [tuple(path for path in shards if path.name.startswith(split)) for split in ("train", spec.test)]
        _require_whole(folder, splits[0] + splits[1])
        if all(splits):
            return Source("parquet", splits[0] + splits[1], partial(_read, spec, *splits))
        if any(splits):
            have, lack = ("train", spec.test) if splits[0] else (spec.test, "train")
            raise CorruptDataError(f"{folder} has {have}*.parquet but no {lack}*.parquet: complete it or remove it")
    return None


def _require_whole(folder: Path, shards: Sequence[Path]) -> None:
    """Names such as ``train-00000-of-00002.parquet`` say how many there are."""
    numbers: dict[tuple[str, str], set[str]] = {}
    for match in filter(None, (_NUMBERED.match(path.name) for path in shards)):
        split, number, count = match.groups()
        numbers.setdefault((split, count), set()).add(number)
    for (split, count), have in numbers.items():
        if len(have) < int(count):
            raise CorruptDataError(
                f"{folder} has {len(have)} of the {int(count)} shards {split}-*-of-{count}: complete it or remove it"
            )


def _read(spec: Spec, train: Sequence[Path], test: Sequence[Path]) -> Arrays:
    train_images, train_labels, names = _read_split(spec, train)
    test_images, test_labels, others = _read_split(spec, test)
    if names and others and names != others:
        raise CorruptDataError(
            f"{test[0]} and {train[0]} beside it differ in the names of their classes, of which label 0 is "
            f"{others[0]!r} and {names[0]!r}: are they of one data set?"
        )
    return Arrays.of((train_images, train_labels), (test_images, test_labels), names or spec.names)


def _read_split(spec: Spec, shards: Sequence[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    encoded: list[bytes] = []
    rows: list[str] = []
    labels: list[NDArray[np.int64]] = []
    names: tuple[str, ...] = ()
    for shard in shards:
        table, image, label = _table(shard)
        encoded += table.column(image).combine_chunks().field("bytes").to_pylist()
        rows += [f"row {i} of {shard}" for i in range(len(table))]
        labels.append(table.column(label).to_numpy().astype(np.int64))
        names = names or _class_names(table, label)
    return decode(encoded, spec, rows.__getitem__), np.concatenate(labels), names


def _table(shard: Path) -> tuple[Any, str, str]:
    parquet = extra("pyarrow.parquet", "reading a data set in parquet")
    try:
        file = parquet.ParquetFile(shard, page_checksum_verification=True)
        present = file.schema_arrow.names
        image, label = (next((c for c in names if c in present), "") for names in (_IMAGE, _LABEL))
        fault = _fault(file.schema_arrow, image, label)
        table = None if fault else file.read(columns=[f"{image}.bytes", label])
    except (OSError, ValueError) as error:
        raise CorruptDataError(f"{shard} is damaged or no parquet file ({error}); get it again") from error
    fault = fault or _wrong_row(table, image, label)
    if fault:
        raise CorruptDataError(f"{shard} {fault}")
    return table, image, label


def _fault(schema: Any, image: str, label: str) -> str:
    """What is wrong with the columns, if anything."""
    types = extra("pyarrow.types", "reading a data set in parquet")
    if not image or not label:
        return f"has columns {schema.names}, but images stand in 'image' and classes in 'label'"
    kind = schema.field(image).type
    if not types.is_struct(kind) or "bytes" not in [field.name for field in kind]:
        return (
            f"holds {kind} in column {image!r}, where images are structs whose field 'bytes' is a PNG or JPEG: write "
            "it with datasets.Image, or as folders of images"
        )
    kind = schema.field(label).type
    if not types.is_integer(kind):
        return f"holds {kind} in column {label!r}, where classes are integers from 0: number them"
    return ""


def _wrong_row(table: Any, image: str, label: str) -> str:
    """Which row has no image or no class, if any."""
    nulls = table.column(image).combine_chunks().field("bytes").is_null().to_pylist()
    labels = table.column(label).to_pylist()
    for row, (null, value) in enumerate(zip(nulls, labels, strict=True)):
        if null:
            return f"has no bytes in column {image!r} at row {row}: remove the row, or put the image's file there"
        if value is None or value < 0:
            return f"has {value} in column {label!r} at row {row}, where classes count from 0: is the split unlabelled?"
    return ""


def _class_names(table: Any, label: str) -> tuple[str, ...]:
    described = (table.schema.metadata or {}).get(b"huggingface")
    features = json.loads(described)["info"]["features"] if described else {}
    return tuple(features.get(label, {}).get("names", ()))
