"""Files that are there whole or not at all, whoever writes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import retconv.describe
import retconv.models.__main__
from retconv.bench.reports import report
from retconv.files import replacing
from retconv.planted import tables as planted
from retconv.studies import write_tables
from retconv.train import TrainError

TABLE = pd.DataFrame({"scale": ["full"], "grid": ["2x2"], "value": [0.5]})


def command(main: Callable, *args: str) -> None:
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output


#: What writes into a folder, with the name of the file.
WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "benchmark": ("out.csv", lambda path: report(TABLE, "default", path)),
    "models": ("out.csv", lambda path: command(retconv.models.__main__.main, "--mask", "gmm", "--out", str(path))),
    "description": (
        "out.png",
        lambda path: command(retconv.describe.main, "gaussian", "--grid", "3x3", "--sigma", "1", "--plot", str(path)),
    ),
    "planted": ("planted_out.csv", lambda path: planted.write("out", TABLE, path.parent, small=False)),
    "study": ("study_out.csv", lambda path: write_tables({"study_out": TABLE}, path.parent)),
}


def test_a_file_is_what_it_was_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    """But for one that names another file, or no number of the system, and so was not of writing."""
    path = tmp_path / "file"
    for error, named in (
        (OSError(errno.ENOSPC, "No space left on device"), str(path)),
        (FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere"), "/elsewhere"),
        (OSError("no number"), None),
    ):
        with pytest.raises(type(error)) as caught, replacing(path):
            raise error
        assert caught.value.filename == named
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "no" / "file") as file:
        file.write(b"new")
    assert caught.value.filename == str(tmp_path / "no" / "file")
    assert not os.listdir(tmp_path)


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    path, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    path.write_bytes(b"old")
    link.symlink_to("file")
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)  # so that writing finds a reader
    with replacing(pipe) as file:
        file.write(b"through")
    assert os.read(end, 7) == b"through"
    os.close(end)
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", WRITERS)
def test_writers_replace_a_file_only_by_a_complete_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that refuses what was written the earlier file stays, and nothing is left beside it."""
    file, write = WRITERS[name]
    path = tmp_path / file
    # What is written a second time need not be counted again.
    monkeypatch.setattr(retconv.models.table, "table", cache(retconv.models.table.table))
    write(path)
    before = path.read_bytes()
    assert len(before) > 10

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((OSError, TrainError, AssertionError), match="No space left on device"):
        write(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [file]


def test_a_benchmark_appends_below_the_rows_that_are_there(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    for value, append in ((1, False), (2, True), (3, True)):
        report(TABLE.assign(value=value), "default", out, append)
    stored = pd.read_csv(out)
    assert list(stored["value"]) == [1, 2, 3]
    assert not stored.isna().any(axis=None)
    report(TABLE.assign(value=4), "default", out)
    assert list(pd.read_csv(out)["value"]) == [4]
