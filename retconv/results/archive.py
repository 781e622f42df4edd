"""Reading archives of runs that may come from anywhere: everything in them is checked before any of it is used."""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from retconv.plain_yaml import load_text
from retconv.train import Config, TrainError, parse
from retconv.train.config import as_now
from retconv.train.recorded import LINES, OBJECTS, require

#: Where a member may stand: a run's folder, one of its files, and perhaps which part of that.
_MEMBER = re.compile(
    r"(?P<run>[0-9a-f]{16})/"
    r"(?P<file>config\.yaml|(?:provenance|metrics)\.jsonl|(?:result|measures)\.json|weights\.pt|checkpoint-\d{9}\.pt|"
    r"kernels/epoch-\d{5}\.npz)"
    r"(?:\.part-(?P<part>[1-9]\d{0,3})-of-(?P<parts>[1-9]\d{0,3}))?"
)
#: Largest file of each kind, in bytes, or of one name.
_LARGEST = {".yaml": 2**18, ".json": 2**20, "measures.json": 2**26, ".jsonl": 2**26, ".npz": 2**28, ".pt": 2**31}
#: Most members of an archive.
_MOST = 100_000
#: What a checkpoint must have for a run to go on.
_STATE = dict.fromkeys(("config", "model", "ema", "optimiser", "best", "sums", "random"), object) | {"step": int}


@dataclass
class PackedRun:
    """A run in a set of archives, all of it checked.

    Attributes:
        config: Its configuration.
        files: Its files' content by their name in a run's folder.
    """

    config: Config
    files: dict[str, bytes]

    @property
    def step(self) -> int:
        """The step of its checkpoint, 0 without."""
        return max((checkpoint_step(name) for name in self.files), default=0)

    @property
    def finished(self) -> bool:
        """Whether it has a test result."""
        return "result.json" in self.files


@dataclass
class _File:
    """A file of a run as the archives have it: its parts by number, how many there must be, and where one stands."""

    parts: dict[int, bytes]
    count: int
    where: str


def checkpoint_step(name: str) -> int:
    """The step of a checkpoint by its file's name, 0 of any other file."""
    return int(name[11:20]) if name.startswith("checkpoint-") else 0


def read(paths: Sequence[Path]) -> tuple[list[PackedRun], list[str]]:
    """Read and check archives; nothing is written anywhere.

    Returns:
        The runs of every set that the archives belong to, and a line for each archive or run that is not whole.

    Raises:
        TrainError: If anything in an archive is not what ``pack`` writes, naming the archive and its member.
    """
    by_run: dict[tuple[str, str], dict[str, _File]] = {}
    sets: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        (label, place, count), members = _open(path)
        sets.setdefault((label, count), set()).add(place)
        for match, content in members:
            files = by_run.setdefault((label, match["run"]), {})
            file = files.setdefault(match["file"], _File({}, int(match["parts"] or 1), f"{path}: {match[0]}"))
            file.parts[int(match["part"] or 1)] = content
    faults = [
        f"of set {label}, archive {place} of {count} was not given"
        for (label, count), places in sets.items()
        for place in range(1, count + 1)
        if place not in places
    ]
    runs = []
    for (label, name), files in by_run.items():
        whole = {n: b"".join(f.parts[i + 1] for i in range(f.count)) for n, f in files.items() if _all_there(f)}
        packed = _checked_run(name, {n: files[n].where for n in whole}, whole)
        if packed is None or len(whole) < len(files) or not (packed.finished or packed.step):
            faults.append(f"left out: run {name} of set {label} is not whole without the other archives of the set")
        else:
            runs.append(packed)
    return runs, faults


def _all_there(file: _File) -> bool:
    return sorted(file.parts) == list(range(1, file.count + 1))


def _open(path: Path) -> tuple[tuple[str, int, int], list[tuple[re.Match[str], bytes]]]:
    """Set, place in it and size of it, and the members of an archive, of which only names and sizes are checked yet."""
    members = []
    with _naming(str(path)), zipfile.ZipFile(path) as archive:
        comment = json.loads(archive.comment)
        own = str(comment["set"]), int(comment["archive"]), int(comment["of"])
        infos = archive.infolist()
        if not re.fullmatch("[0-9a-f]{12}", own[0]) or not 1 <= own[1] <= own[2] <= _MOST or len(infos) > _MOST:
            raise ValueError(f"it is archive {own[1]} of {own[2]} of set {own[0]!r}, with {len(infos)} members")
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("two members have one name")
    for info in infos:
        with _naming(f"{path}: {info.filename!r}"), zipfile.ZipFile(path) as archive:
            match = _MEMBER.fullmatch(info.filename)
            kind = info.external_attr >> 28
            if match is None or kind not in (0, stat.S_IFREG >> 12) or info.flag_bits & 1:
                raise ValueError("it is no plain file of a run")
            if info.file_size > _largest(match["file"]):
                raise ValueError(f"{info.file_size} bytes are more than such a file can have")
            members.append((match, archive.read(info)))
    return own, members


def _checked_run(name: str, where: Mapping[str, str], files: dict[str, bytes]) -> PackedRun | None:
    """A run of which every file was parsed; None without its configuration."""
    if "config.yaml" not in files:
        return None
    with _naming(where["config.yaml"]):
        config = _config(files["config.yaml"])
        if config.id != name:
            raise ValueError(f"its configuration is that of run {config.id}")
    for file, content in files.items():
        with _naming(where[file]):
            if len(content) > _largest(file):
                raise ValueError(f"{len(content)} bytes are more than such a file can have")
            check(file, content, config)
    return PackedRun(config, files)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Whatever parsers say inside becomes a refusal that names where."""
    try:
        yield
    except Exception as error:
        raise TrainError(
            f"{where}: {error or type(error).__name__}; nothing was merged: it is damaged, or was not written by "
            "retconv results pack"
        ) from error


def _largest(file: str) -> int:
    return _LARGEST.get(file) or _LARGEST[Path(file).suffix]


def _config(content: bytes) -> Config:
    return parse(load_text(content, "it"))


def check(file: str, content: bytes, config: Config) -> None:
    """Parse a file of a run as those who read it do, or raise what they raise."""
    kind = Path(file).suffix
    if kind == ".json":
        require(OBJECTS[file], json.loads(content))
    elif kind == ".jsonl":
        for line in content.decode().splitlines():
            require(LINES[file], json.loads(line))
    elif kind in (".npz", ".pt"):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            size = sum(info.file_size for info in inner.infolist())
            if size > _largest(file):
                raise ValueError(f"it unfolds to {size} bytes, more than such a file can have")
            if fault := inner.testzip():
                raise ValueError(f"its {fault} is damaged")
        if kind == ".npz":
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                for name in arrays:
                    arrays[name]
            return
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if step := checkpoint_step(file):
            require(_STATE, state)
            if state["step"] != step or as_now(state["config"]) != config.as_dict():
                raise ValueError("it is the checkpoint of another step or run")
        elif not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("it holds no weights by name")
