"""Errors of data sets on a disk; ``test_errors`` raises each."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retconv.data import CorruptDataError, DataNotFoundError, cache, load
from retconv.data.registry import SPECS
from retconv.data.sources.arrays import Arrays
from retconv.extras import extra
from tests.data.on_disk import random_split, write_annotated, write_folders, write_idx, write_parquet
from tests.error_table import Error

LETTERS = list("abcdefghij")
TRAIN, TEST = random_split(1, 20, 32, 10), random_split(2, 10, 32, 10)
ARRAYS = Arrays.of(TRAIN, TEST, tuple(LETTERS))
CIFAR10 = SPECS["cifar10"]


def loading(prepare: Callable[[Path], object], name: str = "cifar10") -> Callable[[], object]:
    """Load a data set from a folder that has been prepared, without cache or network."""

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict("os.environ", RETCONV_CACHE=folder + "/cache"):
            prepare(Path(folder))
            load(name, folder, download=False)

    return call


def write(root: Path, train: bytes | None = None, **columns: object) -> None:
    """CIFAR-10 in parquet, its training shard replaced by bytes or by a table of other columns."""
    path = root / "cifar10" / "train.parquet"
    write_parquet(path, TRAIN, LETTERS)
    write_parquet(root / "cifar10" / "test.parquet", TEST, LETTERS)
    if train is not None:
        path.write_bytes(train)
    if columns:
        pq.write_table(pa.table(columns), path)


def flip_a_bit(root: Path) -> None:
    write(root)
    content = bytearray((root / "cifar10" / "train.parquet").read_bytes())
    content[content.index(b"IDAT", len(content) // 2) + 100] ^= 1
    (root / "cifar10" / "train.parquet").write_bytes(content)


def truncate(root: Path) -> None:
    write(root)
    content = (root / "cifar10" / "train.parquet").read_bytes()
    (root / "cifar10" / "train.parquet").write_bytes(content[: len(content) // 2])


def wrong_label(root: Path) -> None:
    write(root)
    write_parquet(root / "cifar10" / "test.parquet", (TEST[0], TEST[1] + 1), LETTERS)


def other_names(root: Path) -> None:
    write(root)
    write_parquet(root / "cifar10" / "test.parquet", TEST, LETTERS[::-1])


def images_of(content: bytes) -> pa.Array:
    return pa.array([{"bytes": content, "path": None}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def idx(root: Path, compress: bool) -> None:
    grey = random_split(1, 10, 28, 10, channels=1)
    write_idx(root / "fashion-mnist", grey, grey, compress)
    (path,) = (root / "fashion-mnist").glob("train-images*")
    path.write_bytes(path.read_bytes()[:-9])


def svhn(root: Path) -> None:
    for split in ("train", "test"):
        (root / f"{split}_32x32.mat").write_bytes(b"no MATLAB file")


def folders(root: Path, test: list[str]) -> None:
    write_folders(root / "cifar10" / "train", TRAIN, LETTERS)
    (root / "cifar10" / "test").mkdir()
    if test:
        write_folders(root / "cifar10" / "test", TEST, test)


def annotated(root: Path) -> None:
    write_folders(root / "tiny-imagenet" / "train", random_split(1, 3, 64, 2), ["a", "b"])
    write_annotated(root / "tiny-imagenet" / "val", random_split(2, 3, 64, 2), ["a", "z"])


def without_network() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("retconv.data.loading.fetch", side_effect=ConnectionError("no route to host")),
    ):
        load("cifar100", folder + "/nowhere")


def offline(name: str) -> Callable[[], object]:
    return lambda: load(name, "/nonexistent", download=False)


LOAD: dict[str, Error] = {
    "name": (lambda: load("cifar-10"), ValueError, "no data set 'cifar-10': did you mean 'cifar10'.*tiny-imagenet-32"),
    "far name": (lambda: load("???"), ValueError, r"no data set '\?\?\?': There are cifar10"),
    "nowhere": (
        offline("cifar10"),
        DataNotFoundError,
        r"nowhere below /nonexistent \(does not exist\), and downloads are off.*train\*\.parquet.*/nonexistent/cifar10,"
        r" or what torchvision downloads into /nonexistent; .*RETCONV_DATA",
    ),
    "no network": (
        without_network,
        DataNotFoundError,
        "cifar100 .* the download failed: no route to host.*RETCONV_DATA",
    ),
    "validation": (
        offline("tiny-imagenet"),
        DataNotFoundError,
        r"val\*\.parquet.*val/<class>/\) into [^,]*imagenet; load",
    ),
    "module": (lambda: extra("nosuch.module", "this"), ModuleNotFoundError, r"this needs nosuch.*retconv\[train\]"),
    "of the cluster": (
        lambda: extra("joblib.nosuch", "engine loky"),
        ModuleNotFoundError,
        r"loky needs joblib.*retconv\[cluster\]",
    ),
    "no file": (
        lambda: cache.content_hash(CIFAR10, [Path("/nonexistent/file")]),
        CorruptDataError,
        "cannot read /nonexistent/file: No such file",
    ),
    "split of all": (
        lambda: load("digits").split(1437, 0),
        ValueError,
        "1437 training images.* 1437 is no proper part",
    ),
    "split of none": (
        lambda: load("digits").split(0.0, 0),
        ValueError,
        "0.0 is no proper part: give an int from 1 to 1436",
    ),
    "subset above 1": (lambda: load("digits").subset(1.5, 0), ValueError, "1.5 is no proper part"),
}

ON_DISK: dict[str, Error] = {
    "no parquet": (loading(lambda root: write(root, b"PAR1 or not")), CorruptDataError, "train.parquet is damaged"),
    "truncated parquet": (loading(truncate), CorruptDataError, "train.parquet is damaged"),
    "parquet with a wrong bit": (loading(flip_a_bit), CorruptDataError, "train.parquet is damaged"),
    "columns": (loading(lambda root: write(root, x=[1])), CorruptDataError, r"columns \['x'\], but images stand in"),
    "classes in another order": (
        loading(other_names),
        CorruptDataError,
        "differ in the names of their classes, of which label 0 is 'j' and 'a'",
    ),
    "half a data set": (
        loading(lambda root: write_parquet(root / "cifar10" / "train.parquet", TRAIN, LETTERS)),
        CorruptDataError,
        r"has train\*\.parquet but no test\*\.parquet: complete it",
    ),
    "a shard of two": (
        loading(
            lambda root: (
                write(root),
                (root / "cifar10" / "train.parquet").rename(root / "cifar10" / "train-0-of-2.parquet"),
            )
        ),
        CorruptDataError,
        r"cifar10 has 1 of the 2 shards train-\*-of-2: complete it or remove it",
    ),
    "other half": (
        loading(lambda root: write_parquet(root / "cifar10" / "test.parquet", TEST, LETTERS)),
        CorruptDataError,
        r"has test\*\.parquet but no train\*\.parquet",
    ),
    "no image": (
        loading(lambda root: write(root, image=images_of(b"JFIF"), label=[1])),
        CorruptDataError,
        r"row 0 of .*train\.parquet is no image that can be decoded",
    ),
    "null image": (
        loading(lambda root: write(root, image=images_of(None), label=[1])),  # type: ignore[arg-type]
        CorruptDataError,
        r"train\.parquet has no bytes in column 'image' at row 0: remove the row",
    ),
    "size": (
        loading(
            lambda root: (
                write_folders(root / "cifar10" / "train", random_split(1, 1, 28, 1), ["a"]) or folders(root, LETTERS)
            )
        ),
        CorruptDataError,
        "is 28×28 pixels, those of cifar10 are 32×32: is this another data set",
    ),
    "label": (loading(wrong_label), CorruptDataError, "test labels are int64 from 1 to 10 where int64 from 0 to 9"),
    "truncated IDX": (
        loading(lambda root: idx(root, False), "fashion-mnist"),
        CorruptDataError,
        "idx3-ubyte is damaged",
    ),
    "truncated gzip": (loading(lambda root: idx(root, True), "fashion-mnist"), CorruptDataError, "ubyte.gz is damaged"),
    "MATLAB file": (loading(svhn, "svhn"), CorruptDataError, "torchvision's files of svhn in .* are damaged"),
    "no classes": (
        loading(lambda root: folders(root, [])),
        CorruptDataError,
        "must hold one folder of images for each",
    ),
    "other classes": (
        loading(lambda root: folders(root, [*LETTERS[:9], "z"])),
        CorruptDataError,
        r"test and the folder train beside it differ in the classes \['j', 'z'\]",
    ),
    "annotations": (
        loading(annotated, "tiny-imagenet"),
        CorruptDataError,
        r"val_annotations.*without a folder.*\['z'\]",
    ),
    "shape": (
        lambda: replace(ARRAYS, train_images=ARRAYS.train_images[1:]).require(CIFAR10),
        CorruptDataError,
        r"train images are uint8 \(19, 3, 32, 32\) where uint8 \(20, 3, 32, 32\)",
    ),
    "levels": (
        lambda: replace(ARRAYS, levels=np.zeros((3, 256), np.int64)).require(CIFAR10),
        CorruptDataError,
        "counts of levels are not those of 20 images",
    ),
    "names": (
        lambda: replace(ARRAYS, classes=("a",)).require(CIFAR10),
        CorruptDataError,
        "1 classes are named where 10",
    ),
}

TABLES = {"load": LOAD, "on disk": ON_DISK}
