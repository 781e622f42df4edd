"""Small data sets in every form that they have on a disk, made of random images that are stored without loss."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def random_split(seed: int, count: int, size: int, classes: int, channels: int = 3) -> Split:
    """Images ``(n, channels, size, size)`` and labels among which every class occurs, if there are enough."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    return rng.integers(0, 256, (count, channels, size, size), dtype=np.uint8), labels


def png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "png")
    return file.getvalue()


def write_parquet(
    path: Path, split: Split, classes: list[str] | None, image: str = "image", label: str = "label"
) -> None:
    """One shard, as ``datasets`` writes it."""
    images, labels = split
    column = pa.array(
        [{"bytes": png(item), "path": None} for item in images], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    table = pa.table({image: column, label: pa.array(labels)})
    if classes is not None:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": classes}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7, write_page_checksum=True, write_statistics=False)


def write_cifar(
    root: Path, name: str, train: Split, test: Split, classes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickled batches. torchvision knows the MD5 sums of the real ones, which it is made to forget."""
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(kind, listed, [[file, None] for file, _ in getattr(kind, listed)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": None})
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    label = "labels" if name == "cifar10" else "fine_labels"
    for (images, labels), files in ((train, kind.train_list), (test, kind.test_list)):
        for (file, _), chosen in zip(files, np.array_split(np.arange(len(labels)), len(files)), strict=True):
            content = {"data": images[chosen].reshape(len(chosen), -1), label: labels[chosen].tolist()}
            (folder / file).write_bytes(pickle.dumps(content))
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: classes}))


def write_svhn(folder: Path, train: Split, test: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """MATLAB files, in which the digit 0 has the label 10."""
    known = datasets.SVHN.split_list
    monkeypatch.setattr(datasets.SVHN, "split_list", {split: [*entry[:2], None] for split, entry in known.items()})
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in (("train", train), ("test", test)):
        content = {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)}
        savemat(folder / f"{split}_32x32.mat", content)


def write_idx(folder: Path, train: Split, test: Split, compress: bool) -> None:
    """Fashion-MNIST's files, as torchvision unpacks them or as they are published."""
    folder.mkdir(parents=True)
    for split, (images, labels) in (("train", train), ("t10k", test)):
        for what, content in (("images-idx3", images[:, 0]), ("labels-idx1", labels.astype(np.uint8))):
            data = struct.pack(f">BBBB{content.ndim}i", 0, 0, 8, content.ndim, *content.shape) + content.tobytes()
            name = f"{split}-{what}-ubyte"
            (folder / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)


def write_folders(folder: Path, split: Split, classes: list[str], inner: str = "") -> None:
    """``<folder>/<class>/<inner>/<i>.png``."""
    for i, (image, label) in enumerate(zip(*split, strict=True)):
        path = folder / classes[label] / inner / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))


def write_annotated(folder: Path, split: Split, classes: list[str]) -> None:
    """Tiny-ImageNet's validation set: all images in one folder, classes in a file beside it."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for i, (image, label) in enumerate(zip(*split, strict=True)):
        (folder / "images" / f"val_{i}.JPEG").write_bytes(png(image))
        lines.append(f"val_{i}.JPEG\t{classes[label]}\t0\t0\t62\t62\n")
    (folder / "val_annotations.txt").write_text("".join(lines), encoding="utf-8")
