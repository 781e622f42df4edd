"""Folders of images, a folder a class: Tiny-ImageNet as it is published, and any data set laid out by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets import ImageFolder

from retconv.data.errors import CorruptDataError
from retconv.data.registry import Spec
from retconv.data.sources.arrays import Arrays, Source
from retconv.data.sources.decode import decode

#: Tiny-ImageNet's validation images lie in one folder; a line of this file gives name, class and a box of each.
_ANNOTATIONS = "val_annotations.txt"


def find_folders(spec: Spec, root: Path) -> Source | None:
    """``<folder>/train/<class>/…`` and ``<folder>/test/<class>/…``; ``val`` of Tiny-ImageNet, with its annotations.

    Images are files that torchvision's ``ImageFolder`` lists by their endings: no GIF.
    """
    for folder in (root / name for name in spec.folders):
        train, test = folder / "train", folder / spec.test
        if train.is_dir() and test.is_dir():
            files = tuple(sorted(path for part in (train, test) for path in _files(part) if path.is_file()))
            return Source("image folders", files, partial(_read, spec, train, test))
    return None


def _files(folder: Path) -> Iterator[Path]:
    """All that is below a folder, behind links too, as ``ImageFolder`` looks."""
    for inner, _, names in os.walk(folder, followlinks=True):
        yield from (Path(inner) / name for name in names)


def _read(spec: Spec, train: Path, test: Path) -> Arrays:
    try:
        listed = ImageFolder(train)
        annotated = (test / _ANNOTATIONS).is_file()
        samples = _annotated(test, listed.class_to_idx) if annotated else _listed(test, listed.class_to_idx)
    except FileNotFoundError as error:
        raise CorruptDataError(f"{train} and {test} must hold one folder of images for each class: {error}") from error
    return Arrays.of(_decode(spec, listed.samples), _decode(spec, samples), tuple(listed.classes))


def _decode(spec: Spec, samples: list[tuple[str, int]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = decode([Path(path) for path, _ in samples], spec, lambda i: samples[i][0])
    return images, np.array([label for _, label in samples], np.int64)


def _listed(test: Path, index: dict[str, int]) -> list[tuple[str, int]]:
    folder = ImageFolder(test)
    if folder.class_to_idx != index:
        differing = sorted(set(folder.classes) ^ set(index))
        raise CorruptDataError(f"{test} and the folder train beside it differ in the classes {differing[:5]}")
    return folder.samples


def _annotated(test: Path, index: dict[str, int]) -> list[tuple[str, int]]:
    rows = [line.split("\t") for line in (test / _ANNOTATIONS).read_text(encoding="utf-8").splitlines() if line]
    unknown = sorted({row[1] if len(row) > 1 else row[0] for row in rows if len(row) < 2 or row[1] not in index})
    if unknown:
        raise CorruptDataError(f"{test / _ANNOTATIONS} names classes without a folder in train: {unknown[:5]}")
    return [(str(test / "images" / row[0]), index[row[1]]) for row in rows]
