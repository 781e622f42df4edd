"""Kinds of values that options take: each refuses, with the remedy, what no command could use."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import click
import torch

from retconv.grid import Grid

#: The largest integer that every library beneath takes.
LARGEST = 2**31 - 1


class Count(click.IntRange):
    """A whole number from ``low`` to ``high``, by default any positive one."""

    def __init__(self, low: int = 1, high: int = LARGEST) -> None:
        super().__init__(low, high)

    def _describe_range(self) -> str:
        return f"{self.min}<=x<={self.max}" if self.max != LARGEST else f"x>={self.min}"


class Number(click.FloatRange):
    """A finite number; ``nan`` and what overflows are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


class Shape(click.ParamType):
    """A grid such as ``14x14``."""

    name = "NxN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Grid:
        """Read it."""
        try:
            return value if isinstance(value, Grid) else Grid.parse(value)
        except ValueError as error:
            # The cause says which side is not positive, where the form is right.
            self.fail(str(error.__cause__ if str(error.__cause__).startswith("Grid") else error), param, ctx)


class Device(click.ParamType):
    """A device of torch that is there."""

    name = "DEVICE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, by a tensor of no elements."""
        try:
            usable = not torch.empty(0, device=value).is_meta
        except (RuntimeError, AssertionError):
            usable = False
        if not usable:
            self.fail(f"{value!r} is no device here: choose cpu, or cuda where there is a GPU", param, ctx)
        return str(value)


class NewFile(click.Path):
    """A file to be written: before any work it is known that it can be."""

    def __init__(self, suffixes: tuple[str, ...] = (), parents: bool = False) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes, self.parents = suffixes, parents

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check it."""
        _not_empty(self, value, param, ctx)
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if self.suffixes and path.suffix.lower() not in ("", *self.suffixes):
            kinds = ", ".join(self.suffixes)
            self.fail(f"cannot save {path}: {path.suffix!r} is no format of it: choose one of {kinds}", param, ctx)
        if _is_given(param, ctx):
            _check_folder(self, path, _existing(path.parent) if self.parents else path.parent, param, ctx)
        return path


class NewFolder(click.Path):
    """A folder to be written to, which is made if it is not there."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check it."""
        _not_empty(self, value, param, ctx)
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if _is_given(param, ctx):
            _check_folder(self, path, _existing(path), param, ctx)
        return path


class Folder(click.Path):
    """A folder to be read."""

    def __init__(self, exists: bool) -> None:
        super().__init__(exists=exists, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check it."""
        _not_empty(self, value, param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


def _not_empty(kind: click.ParamType, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> None:
    if not str(value).strip() or "\0" in str(value):
        kind.fail(f"{str(value)!r} is no path", param, ctx)


def _is_given(param: click.Parameter | None, ctx: click.Context | None) -> bool:
    """Whether the user wrote it: a default may be of no use in this call."""
    source = ctx and param and param.name and ctx.get_parameter_source(param.name)
    return source is not click.core.ParameterSource.DEFAULT


def _existing(path: Path) -> Path:
    """A folder, or the nearest above it that there is."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _check_folder(
    kind: click.ParamType, path: Path, folder: Path, param: click.Parameter | None, ctx: click.Context | None
) -> None:
    """Refuse a path if no file can be made in a folder: only trying tells, for root may write where nobody can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        kind.fail(f"cannot write {path}: {error.strerror} in {folder}; choose another folder", param, ctx)


COUNT = Count()
THREADS = Count(high=1024)
#: Any finite number, one above 0, and one strictly between 0 and 1.
NUMBER = Number()
POSITIVE = Number(min=0, min_open=True)
FRACTION = Number(min=0, max=1, min_open=True, max_open=True)
GRID = Shape()
DEVICE = Device()
NEW_FILE = NewFile()
NEW_FOLDER = NewFolder()
#: A folder that is there, and one that may come.
FOLDER = Folder(exists=True)
ROOT = Folder(exists=False)
