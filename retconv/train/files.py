"""The files of a run: written whole, or line by line, with a message that says what is safe."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from retconv.files import replacing


class TrainError(RuntimeError):
    """Training cannot go on; the message says what happened, what is safe, and what to do."""


def in_memory(write: Callable[[BinaryIO], object]) -> memoryview:
    """What a function writes: into a file, ``torch.save`` turns a full disk into an error that does not say so."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getbuffer()


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, as ``retconv.files.replacing`` does.

    Raises:
        TrainError: If the disk is full or the folder cannot be written to; ``path`` is then what it was.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise TrainError(
            f"cannot write {path}: {error.strerror or error}. What stood there before is untouched: make room, or "
            "choose another folder, and start the same command again to resume"
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, if it is not there.

    Raises:
        TrainError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"cannot make {path}: {error.strerror}; make room, or choose another folder") from error


def append_line(path: Path, line: str, sync: bool = True) -> None:
    """Append one line in a single write, so that no other process's line can fall into it.

    A line torn by an earlier kill is first closed off; ``read_lines`` leaves it out.

    Args:
        path: The file.
        line: Without its end.
        sync: Force it to disk. Without, it outlives a kill of the process but perhaps no power failure before ``sync``.

    Raises:
        TrainError: If the disk is full or the file cannot be written to.
    """
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(line.encode() + b"\n")
            file.flush()
            if sync:
                os.fsync(file.fileno())
    except OSError as error:
        raise TrainError(
            f"cannot append to {path}: {error.strerror or error}. Make room and start the same command again to resume"
        ) from error


def sync(path: Path) -> None:
    """Force to disk what was appended to a file, if it is there.

    Raises:
        TrainError: If the disk refuses it.
    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    except OSError as error:
        raise TrainError(
            f"cannot write {path} to disk: {error.strerror or error}. Make room and start again"
        ) from error
