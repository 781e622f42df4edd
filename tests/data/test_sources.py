"""Data sets read from every form that they have on a disk, and the statistics and provenance that come with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retconv.data import NAMES, Dataset, load
from tests.data.naive import mean_and_deviation
from tests.data.on_disk import (
    Split,
    random_split,
    write_annotated,
    write_cifar,
    write_folders,
    write_idx,
    write_parquet,
    write_svhn,
)

LETTERS = list("abcdefghij")
WORDNET = [f"n{i:08}" for i in range(200)]


@pytest.fixture(autouse=True)
def _no_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETCONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RETCONV_DATA", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def assert_holds(data: Dataset, train: Split, test: Split) -> None:
    """Every pixel and label, twice: decoded, and from the cache."""
    for (images, labels), found in (
        (train, (data.train_images, data.train_labels)),
        (test, (data.test_images, data.test_labels)),
    ):
        assert found[0].dtype == torch.uint8
        assert found[1].dtype == torch.int64
        np.testing.assert_array_equal(found[0].numpy(), np.broadcast_to(images, found[0].shape))
        np.testing.assert_array_equal(found[1].numpy(), labels)


def load_twice(name: str, root: Path, train: Split, test: Split) -> Dataset:
    first = load(name, root, download=False)
    assert_holds(first, train, test)
    again = load(name, root, download=False)
    assert_holds(again, train, test)
    assert (again.mean, again.std, again.classes, again.source) == (first.mean, first.std, first.classes, first.source)
    return first


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_parquet(name: str, root: Path) -> None:
    size = {"tiny-imagenet": 64, "fashion-mnist": 28}.get(name, 32)
    classes = {"cifar100": 100, "tiny-imagenet": 200, "tiny-imagenet-32": 200}.get(name, 10)
    train, test = random_split(1, classes + 3, size, classes), random_split(2, 5, size, classes)
    names = [f"class {i}" for i in range(classes)]
    label = "fine_label" if name == "cifar100" else "label"
    write_parquet(root / name / "train-0.parquet", train, names, label=label)
    write_parquet(
        root / name / ("valid.parquet" if name.startswith("tiny") else "test.parquet"), test, names, label=label
    )
    data = load_twice(name, root, train, test)
    assert data.classes == tuple(names)
    assert data.source.startswith("parquet, sha256 ")
    assert data.flip == (name != "svhn")


def test_parquet_shards_are_joined_in_order(root: Path) -> None:
    """The hub's own layout of CIFAR-10: shards in a folder, the image column called ``img``."""
    first, second, test = (random_split(seed, 20, 32, 10) for seed in (1, 2, 3))
    for i, shard in enumerate((first, second)):
        write_parquet(root / "cifar10" / "plain_text" / f"train-0000{i}-of-00002.parquet", shard, LETTERS, image="img")
    write_parquet(root / "cifar10" / "plain_text" / "test-00000-of-00001.parquet", test, LETTERS, image="img")
    train = tuple(np.concatenate(parts) for parts in zip(first, second, strict=True))
    load_twice("cifar10", root, (train[0], train[1]), test)


def test_grey_images_get_three_equal_channels(root: Path) -> None:
    """Some of Tiny-ImageNet's are grey."""
    train, test = random_split(1, 12, 32, 10, channels=1), random_split(2, 4, 32, 10)
    write_parquet(root / "cifar10" / "train.parquet", train, LETTERS)
    write_parquet(root / "cifar10" / "test.parquet", test, LETTERS)
    load_twice("cifar10", root, train, test)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_as_torchvision_keeps_it(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {"cifar10": 10, "cifar100": 100}[name]
    train, test = random_split(1, 103, 32, classes), random_split(2, 7, 32, classes)
    write_cifar(root, name, train, test, [f"class {i}" for i in range(classes)], monkeypatch)
    data = load_twice(name, root, train, test)
    assert data.classes[-1] == f"class {classes - 1}"


@pytest.mark.parametrize("below", ["", "svhn"])
def test_svhn_as_torchvision_keeps_it(below: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = random_split(1, 23, 32, 10), random_split(2, 7, 32, 10)
    write_svhn(root / below, train, test, monkeypatch)
    data = load_twice("svhn", root, train, test)
    assert not data.flip
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize(("below", "compress"), [("FashionMNIST/raw", False), ("fashion-mnist", True)])
def test_fashion_mnist_unpacked_and_packed(below: str, compress: bool, root: Path) -> None:
    train, test = random_split(1, 13, 28, 10, channels=1), random_split(2, 7, 28, 10, channels=1)
    write_idx(root / below, train, test, compress)
    data = load_twice("fashion-mnist", root, train, test)
    assert data.classes[0] == "T-shirt/top"


def test_mnist_is_not_taken_for_fashion_mnist(root: Path) -> None:
    """Its files have the same names."""
    split = random_split(1, 13, 28, 10, channels=1)
    write_idx(root / "MNIST" / "raw", split, split, compress=False)
    write_idx(root / "mnist", split, split, compress=True)
    with pytest.raises(FileNotFoundError):
        load("fashion-mnist", root, download=False)


def by_folder(split: Split) -> Split:
    """The order in which folders of classes list their images."""
    order = np.argsort(split[1], kind="stable")
    return split[0][order], split[1][order]


def test_image_folders(root: Path) -> None:
    train, test = random_split(1, 30, 32, 10), random_split(2, 20, 32, 10)
    write_folders(root / "cifar10" / "train", train, LETTERS)
    write_folders(root / "cifar10" / "test", test, LETTERS)
    data = load_twice("cifar10", root, by_folder(train), by_folder(test))
    assert data.classes == tuple(LETTERS)


def test_tiny_imagenet_as_published(root: Path) -> None:
    """Validation labels come from the annotation file."""
    train, test = random_split(1, 200, 64, 200), random_split(2, 9, 64, 200)
    write_folders(root / "tiny-imagenet-200" / "train", train, WORDNET, inner="images")
    write_annotated(root / "tiny-imagenet-200" / "val", test, WORDNET)
    data = load_twice("tiny-imagenet", root, by_folder(train), test)
    assert data.classes == tuple(WORDNET)
    small = load("tiny-imagenet-32", root, download=False)
    means = test[0].reshape(9, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    assert np.abs(small.test_images.numpy() - means).max() <= 0.5


def test_digits_come_without_a_root(root: Path) -> None:
    data = load("digits", root, download=False)
    assert data.train_images.shape == (1437, 3, 8, 8)
    assert data.test_images.shape == (360, 3, 8, 8)
    assert int(data.train_images.max()) == 255
    assert not data.flip
    assert data.test_labels.bincount().min() >= 34
    assert not root.exists()


def test_root_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = random_split(1, 12, 32, 10), random_split(2, 4, 32, 10)
    write_parquet(root / "svhn" / "cropped_digits" / "train.parquet", train, None)
    write_parquet(root / "svhn" / "cropped_digits" / "test.parquet", test, None)
    monkeypatch.setenv("RETCONV_DATA", str(root))
    assert_holds(load("svhn", download=False), train, test)


def test_statistics_are_those_of_the_training_pixels(root: Path) -> None:
    train, test = random_split(1, 11, 32, 10), random_split(2, 4, 32, 10)
    write_parquet(root / "cifar10" / "train.parquet", train, LETTERS)
    write_parquet(root / "cifar10" / "test.parquet", test, LETTERS)
    data = load("cifar10", root, download=False)
    for channel in range(3):
        mean, deviation = mean_and_deviation(train[0].tolist(), channel)
        assert data.mean[channel] == pytest.approx(mean, rel=1e-12)
        assert data.std[channel] == pytest.approx(deviation, rel=1e-12)


def test_moving_keeps_everything_and_repr_is_short() -> None:
    data = load("digits")
    moved = data.to("cpu")
    assert torch.equal(moved.train_images, data.train_images)
    assert moved.classes == data.classes
    assert "1,437 + 360 images (3, 8, 8), 10 classes" in repr(data)
