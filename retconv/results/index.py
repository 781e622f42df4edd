"""What tables need of each run below a folder, kept in one file, so that thousands of runs are read in a second."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retconv.files import replacing
from retconv.plain_yaml import YamlError, load_file
from retconv.train import Config, RecipeError, parse
from retconv.train.recorded import DamagedRunError, check

#: Raised whenever what is kept of a run changes; so do the options of a run, of which it is the other half.
_VERSION = 1
_NAME = ".index.json"
#: What of a run's folder an entry is made of.
_FILES = ("config.yaml", "result.json", "provenance.jsonl", "metrics.jsonl", "measures.json")
#: A file that changes twice within a tick of the file system's clock looks the same: younger ones are read again.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Entry:
    """A run as its folder has it.

    Attributes:
        stamps: Identity, size and time of each of its files; null for one that is not there.
        config: Its configuration; empty, if that is damaged.
        row: Its test result and origin; empty, if it is not finished.
        fault: What is damaged; empty, if nothing is.
    """

    stamps: list[list[int] | None]
    config: dict[str, Any]
    row: dict[str, Any]
    fault: str


def entries(root: Path) -> dict[str, Entry]:
    """All runs below a folder by the name of theirs, from the index where it is younger than their files.

    An index that is damaged, or of another version, is not used, and one that cannot be written is done without: then
    the files themselves are read.
    """
    indexed, now = _read(root), time.time_ns()
    runs = {}
    for folder in _folders(root):
        stamps = [_stamp(folder / name) for name in _FILES]
        known = indexed.get(folder.name)
        runs[folder.name] = known if known and known.stamps == stamps else _examine(folder, stamps)
    settled = {n: e for n, e in runs.items() if all(now - s[-1] > _SETTLED_NS for s in e.stamps if s)}
    if settled != indexed:
        with suppress(OSError):
            _write(root, settled)
    return runs


def _folders(root: Path) -> list[Path]:
    """Those that have a configuration, or the name of a run and something that a run recorded."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(root) as entries:
        folders = [Path(entry.path) for entry in entries if entry.is_dir()]
        return sorted(f for f in folders if (f / _FILES[0]).exists() or (_is_run(f.name) and _has_records(f)))
    return []


def _is_run(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{16}", name) is not None


def _has_records(folder: Path) -> bool:
    return any((folder / name).exists() for name in _FILES)


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]


def _examine(folder: Path, stamps: list[list[int] | None]) -> Entry:
    path = folder / "config.yaml"
    try:
        config = parse(load_file(path), str(path))
    except (RecipeError, YamlError, OSError) as error:
        return Entry(stamps, {}, {}, str(error))
    if config.id != folder.name:
        return Entry(stamps, {}, {}, f"{path} is the configuration of run {config.id}: is the folder renamed?")
    try:
        return Entry(stamps, config.as_dict(), check(folder), "")
    except DamagedRunError as error:
        return Entry(stamps, config.as_dict(), {}, str(error))


def _read(root: Path) -> dict[str, Entry]:
    try:
        digest, _, text = (root / _NAME).read_text(encoding="utf-8").partition("\n")
        return {name: Entry(**entry) for name, entry in json.loads(text).items()} if digest == _digest(text) else {}
    except (OSError, UnicodeDecodeError):
        return {}


def _write(root: Path, runs: dict[str, Entry]) -> None:
    text = json.dumps({name: asdict(entry) for name, entry in runs.items()})
    with replacing(root / _NAME) as file:
        file.write(f"{_digest(text)}\n{text}".encode())


def _digest(text: str) -> str:
    """Of the text, the version, and the options that there are, each with its default."""
    return hashlib.sha256(f"{_VERSION} {Config().as_dict()}\n{text}".encode()).hexdigest()
