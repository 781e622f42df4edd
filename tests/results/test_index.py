"""The index of runs: what it saves, and that nothing is believed that the files do not say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from retconv.results import Store, index
from tests.results.carried import RESULT, UNTRAINED, by_hand
from tests.train.small import tiny

Counted = list[Path]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The configurations that were parsed."""
    paths: Counted = []

    def counted(path: Path) -> object:
        paths.append(path)
        return load_file(path)

    load_file = index.load_file
    monkeypatch.setattr(index, "load_file", counted)
    return paths


def age(root: Path, seconds: int = 60) -> Path:
    """All files as of a minute ago: what has just changed is not indexed."""
    for path in root.rglob("*"):
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - seconds * 10**9))
    return root


def accuracies(root: Path) -> list[float]:
    return list(Store(root).frame().get("test_accuracy", []))


def test_a_run_is_read_once_and_then_from_the_index(tmp_path: Path, read: Counted) -> None:
    store = Store(age(by_hand(tmp_path)))
    first = {what: getattr(store, what)() for what in ("frame", "metrics", "provenance", "kernels")}
    assert len(read) == 2
    for what, table in first.items():
        assert table.equals(getattr(Store(tmp_path), what)())
        assert not Store(tmp_path).damaged()
    assert len(read) == 2
    age(by_hand(tmp_path, [tiny(seed=2)]), 30)
    assert len(store.frame()) == 3
    assert len(read) == 5  # aged, the first two are other files too
    assert len(store.frame()) == 3
    assert len(read) == 5


@pytest.mark.parametrize("seconds", [0, 60])
def test_whatever_changes_is_read_again(tmp_path: Path, read: Counted, seconds: int) -> None:
    """Also a file that changes at once, to as many bytes."""
    by_hand(tmp_path)
    age(tmp_path, seconds)
    assert accuracies(tmp_path) == [0.5, 0.5]
    path = tmp_path / UNTRAINED[0].id / "result.json"
    path.write_text(json.dumps(RESULT | {"test_accuracy": 0.7}) + "\n")
    assert sorted(accuracies(tmp_path)) == [0.5, 0.7]
    path.unlink()
    assert accuracies(tmp_path) == [0.5]
    (tmp_path / UNTRAINED[1].id).rename(tmp_path / ("0" * 16))
    assert accuracies(tmp_path) == []
    assert "is the configuration of run" in Store(tmp_path).damaged()[tmp_path / ("0" * 16)]


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "no UTF-8": lambda content: b"\xff" + content,
    "deep": lambda content: b"[" * 100_000,
    "another number": lambda content: content.replace(b'"test_accuracy": 0.5', b'"test_accuracy": 0.9'),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_damaged_index_is_not_believed_and_written_anew(tmp_path: Path, read: Counted, spoil: Callable) -> None:
    age(by_hand(tmp_path))
    assert accuracies(tmp_path) == [0.5, 0.5]
    file = tmp_path / ".index.json"
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    assert accuracies(tmp_path) == [0.5, 0.5]
    assert len(read) == 4
    assert file.read_bytes() == whole


def test_an_index_of_other_options_is_not_believed(
    tmp_path: Path, read: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option that the package gets is a column of every run."""
    age(by_hand(tmp_path))
    Store(tmp_path).frame()
    monkeypatch.setattr(index, "_VERSION", 2)
    Store(tmp_path).frame()
    assert len(read) == 4


def test_without_an_index_the_files_are_read(tmp_path: Path, read: Counted) -> None:
    """In a folder that cannot be written to; here a folder stands in the index's place, for root may write anywhere."""
    age(by_hand(tmp_path))
    (tmp_path / ".index.json").mkdir()
    assert accuracies(tmp_path) == accuracies(tmp_path) == [0.5, 0.5]
    assert len(read) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".index.json", *(c.id for c in UNTRAINED)])


def test_no_folder_is_made_by_reading(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").frame().empty
    assert not (tmp_path / "nowhere").exists()
