"""The cache of decoded data sets: complete or absent, checked when it is read, named by content."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from retconv.data import Dataset, cache, load
from retconv.data.registry import SPECS
from tests.data.on_disk import random_split, write_folders, write_parquet

LETTERS = list("abcdefghij")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CIFAR-10 in parquet."""
    monkeypatch.setenv("RETCONV_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "cifar10"
    write_parquet(folder / "train.parquet", random_split(1, 20, 32, 10), LETTERS)
    write_parquet(folder / "test.parquet", random_split(2, 10, 32, 10), LETTERS)
    return tmp_path / "data"


def cache_file(root: Path) -> Path:
    (found,) = (root.parent / "cache" / "decoded").iterdir()
    return found


def same(a: Dataset, b: Dataset) -> bool:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def test_second_load_decodes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("cifar10", root)
    monkeypatch.setattr("retconv.data.sources.parquet.decode", None)
    assert same(first, load("cifar10", root))


@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, -1])
def test_truncated_cache_is_rebuilt(root: Path, cut: float) -> None:
    first = load("cifar10", root)
    path = cache_file(root)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content)) if isinstance(cut, float) else cut])
    with pytest.warns(UserWarning, match="is damaged .* decoding cifar10 again"):
        assert same(first, load("cifar10", root))
    assert path.read_bytes() == content
    assert same(first, load("cifar10", root))


@pytest.mark.parametrize("position", [0.1, 0.3, 0.6, 0.9])
def test_cache_with_one_wrong_bit_is_rebuilt(root: Path, position: float) -> None:
    first = load("cifar10", root)
    path = cache_file(root)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        assert same(first, load("cifar10", root))


def test_cache_of_something_else_is_rebuilt(root: Path) -> None:
    first = load("cifar10", root)
    path = cache_file(root)
    np.savez(path, train_images=np.zeros(3))
    with pytest.warns(UserWarning, match="is damaged"):
        assert same(first, load("cifar10", root))


def test_cache_follows_content(root: Path) -> None:
    """New content under an old name is another data set, with a cache of its own."""
    before = load("cifar10", root)
    write_parquet(root / "cifar10" / "train.parquet", random_split(3, 20, 32, 10), LETTERS)
    after = load("cifar10", root)
    assert before.source != after.source
    assert not torch.equal(before.train_images, after.train_images)
    assert len(list((root.parent / "cache" / "decoded").iterdir())) == 2


def test_cache_follows_what_is_behind_links(root: Path) -> None:
    for path in (root / "cifar10").iterdir():
        path.unlink()
    write_folders(root / "elsewhere", random_split(1, 20, 32, 10), LETTERS)
    write_folders(root / "cifar10" / "test", random_split(2, 20, 32, 10), LETTERS)
    (root / "cifar10" / "train").mkdir()
    for letter in LETTERS:
        (root / "cifar10" / "train" / letter).symlink_to(root / "elsewhere" / letter)
    before = load("cifar10", root)
    write_folders(root / "elsewhere", random_split(3, 20, 32, 10), LETTERS)
    assert not torch.equal(before.train_images, load("cifar10", root).train_images)


def test_hash_sees_names_of_folders(tmp_path: Path) -> None:
    """Two classes that exchange their folders exchange their labels."""
    hashes = set()
    for names in (["a", "b"], ["b", "a"]):
        folder = tmp_path / "".join(names)
        write_folders(folder, random_split(1, 2, 32, 2), names)
        hashes.add(cache.content_hash(SPECS["cifar10"], sorted(folder.rglob("*.png"))))
    assert len(hashes) == 2


def test_interrupted_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: a warning, the data set all the same, and no file, whole or partial."""

    def full(file: object, **arrays: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left on device.*RETCONV_CACHE"):
        data = load("cifar10", root)
    assert len(data.train_images) == 20
    assert list((root.parent / "cache" / "decoded").iterdir()) == []


def _load_in_process(root: Path) -> int:
    return int(load("cifar10", root).train_images.sum())


def test_processes_that_load_at_once_agree(root: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.map(_load_in_process, [root] * 4)
    assert set(sums) == {int(load("cifar10", root).train_images.sum())}
    assert cache_file(root).suffix == ".npz"
