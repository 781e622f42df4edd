"""The forms in which torchvision keeps data sets: pickled batches, MATLAB files, and IDX files."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision import datasets

from retconv.data.errors import CorruptDataError
from retconv.data.registry import Spec
from retconv.data.sources.arrays import Arrays, Source, three_channels


def find_torchvision(spec: Spec, root: Path) -> Source | None:
    """What ``torchvision.datasets`` downloads, below the root or below the data set's own folder."""
    for folder in (root, *(root / name for name in spec.folders)):
        for files, reader in _FORMS.get(spec.name, ()):
            paths = tuple(folder / name for name in files)
            if all(path.is_file() for path in paths):
                return Source("torchvision", paths, partial(reader, spec, folder, paths))
    return None


def _checked(reader: _Reader, spec: Spec, folder: Path, paths: tuple[Path, ...]) -> Arrays:
    try:
        return reader(spec, folder, paths)
    # Each reader has exceptions of its own for a damaged file.
    except Exception as error:
        raise CorruptDataError(f"torchvision's files of {spec.name} in {folder} are damaged: {error}") from error


def _read_cifar(spec: Spec, folder: Path, paths: tuple[Path, ...]) -> Arrays:
    del paths
    train, test = (_CIFAR[spec.name](folder, train=flag) for flag in (True, False))
    return Arrays.of(_cifar_split(train), _cifar_split(test), tuple(train.classes))


def _cifar_split(split: datasets.CIFAR10) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return np.ascontiguousarray(split.data.transpose(0, 3, 1, 2)), np.array(split.targets, np.int64)


def _read_svhn(spec: Spec, folder: Path, paths: tuple[Path, ...]) -> Arrays:
    del paths
    train, test = (datasets.SVHN(folder, split=split) for split in ("train", "test"))
    return Arrays.of(
        (np.ascontiguousarray(train.data), train.labels), (np.ascontiguousarray(test.data), test.labels), spec.names
    )


def _read_fashion(spec: Spec, folder: Path, paths: tuple[Path, ...]) -> Arrays:
    del folder
    train_images, train_labels, test_images, test_labels = map(_read_idx, paths)
    return Arrays.of(
        (three_channels(train_images), train_labels.astype(np.int64)),
        (three_channels(test_images), test_labels.astype(np.int64)),
        spec.names,
    )


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of bytes: two zeros, the type 8, the number of axes, their sizes big-endian, then the data."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        content = b""
    axes = content[3] if content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">i4"))
    if not axes or len(content) - start != math.prod(shape):
        raise CorruptDataError(f"{path} is damaged or no IDX file; get it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


_Reader = Callable[[Spec, Path, tuple[Path, ...]], Arrays]
_CIFAR: dict[str, type[datasets.CIFAR10]] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
_IDX = tuple(f"{split}-{what}-ubyte" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


def _cifar_files(kind: type[datasets.CIFAR10]) -> tuple[str, ...]:
    names = [*(name for name, _ in kind.train_list + kind.test_list), kind.meta["filename"]]
    return tuple(f"{kind.base_folder}/{name}" for name in names)


#: For each data set the forms that it may have: its files below a folder, and what reads them. torchvision unpacks
#: Fashion-MNIST, Debian does not. MNIST has files of the same names, so the folder must say which one it is.
_FORMS: dict[str, tuple[tuple[tuple[str, ...], _Reader], ...]] = {
    **{name: ((_cifar_files(kind), partial(_checked, _read_cifar)),) for name, kind in _CIFAR.items()},
    "svhn": ((("train_32x32.mat", "test_32x32.mat"), partial(_checked, _read_svhn)),),
    "fashion-mnist": tuple(
        (tuple(f"{folder}{name}{suffix}" for name in _IDX), _read_fashion)
        for folder in ("FashionMNIST/raw/", "fashion-mnist/")
        for suffix in ("", ".gz")
    ),
}
