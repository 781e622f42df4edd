"""Runs as few archives, each below a size limit, to be carried from one machine to another and merged there.

An archive is a zip of members ``<run>/<file>`` with the files of ``RunFolder``: of a finished run its configuration,
result, measures, metrics, provenance and last kernels, and its weights on request; of an unfinished one its newest good
checkpoint instead of a result. A file that is larger than an archive may be is cut into parts ``<file>.part-1-of-3``.
The archive's comment names the set that it belongs to and its place in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retconv.results.archive import check, checkpoint_step, read
from retconv.results.store import Store
from retconv.train import RunFolder, TrainError, checkpoint
from retconv.train.files import make_folder, write_whole

#: Of an archive's own end record and comment, in bytes.
_RESERVED = 512
#: Of a part's own entries, in bytes.
_ENTRIES = 4096
_NAME = re.compile(r"runs-([0-9a-f]{12})-\d+-of-\d+\.zip")

Members = dict[str, bytes]


@dataclass
class Packed:
    """What ``pack`` did.

    Attributes:
        archives: The files, those with finished runs first.
        finished: Names of the finished runs in them.
        unfinished: Names of the runs in them that go on from a checkpoint.
        left_out: Why, by the name of each run that is not in them, or of a damaged file of one that is.
        kept: Archives of earlier sets that are not replaced: they hold what neither these nor the folder have.

    Example:
        >>> import tempfile
        >>> retconv.results.pack(tempfile.mkdtemp(), tempfile.mkdtemp(), limit=2**20).archives
        []
    """

    archives: list[Path] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)


def pack(
    root: str | Path,
    out: str | Path,
    limit: int,
    *,
    weights: bool = False,
    most: int | None = None,
    replace: bool = False,
    add: bool = False,
) -> Packed:
    """Pack all runs below a folder, or those finished ones that earlier archives do not hold.

    The same runs give the same bytes. Archives are written whole; an earlier set is removed once all are there, unless
    it holds a run, weights or measures that neither they nor the folder have, or cannot be read.

    Args:
        root: Folder of the runs.
        out: Folder of the archives.
        limit: Bytes that an archive may have, at least 64 KiB.
        weights: Include the weights of finished runs.
        most: Archives that there may be; unfinished runs that do not fit are left out, those least far first.
        replace: Remove the archives of earlier sets from ``out`` afterwards.
        add: Leave the archives of earlier sets as they are, and pack beside them only finished runs that they do not
            hold, or hold without their measures or, if they are asked for, their weights.

    Raises:
        ValueError: If the limit is too small, or both ``replace`` and ``add`` are set.
        TrainError: If ``out`` holds another set and neither ``replace`` nor ``add`` is set, archives there are damaged
            and ``add`` is set, finished runs do not fit ``most`` archives, or the disk is full.

    Example:
        >>> import tempfile
        >>> pack(tempfile.mkdtemp(), tempfile.mkdtemp(), limit=2**20).finished
        []
    """
    if replace and add:
        raise ValueError("archives of earlier sets are replaced or added to, not both: choose one of replace and add")
    if limit < 2**16:
        raise ValueError(f"an archive of {limit} bytes is too small: the limit must be at least {2**16} bytes")
    out = Path(out)
    earlier = [path for path in out.glob("runs-*.zip") if _NAME.fullmatch(path.name)]
    packed = Packed()
    dropped: list[str] = []
    finished: list[tuple[str, Members]] = []
    unfinished: list[tuple[str, Members]] = []
    store = Store(root)
    archived = _held(earlier) if add else {}
    faults = store.damaged()
    packed.left_out |= {folder.name: fault for folder, fault in faults.items()}
    for run in (run for run in store.runs() if run.path not in faults):
        wanted = {"result.json", "measures.json", *["weights.pt"] * weights}
        wanted = {name for name in wanted if (run.path / name).is_file()}
        if add and (wanted <= archived.get(run.path.name, set()) or not run.finished):
            continue
        try:
            last, fault = (run.path / "result.json", "") if run.finished else _checkpoint(run)
            members = _members(run, last, weights, packed.left_out) if last else {}
        except OSError as error:  # a run that is being trained may remove a file that is about to be read
            last, fault = None, str(error)
        if last is None:
            packed.left_out[run.path.name] = f"nothing of it can go on elsewhere: {fault}"
            continue
        (finished if last.name == "result.json" else unfinished).append((run.path.name, members))
    unfinished.sort(key=lambda named: -max(checkpoint_step(Path(name).name) for name in named[1]))
    while True:
        archives = _fill([members for _, members in (*finished, *unfinished)], limit)
        if most is None or len(archives) <= most:
            break
        if not unfinished:
            raise TrainError(
                f"the finished runs of {root} need {len(archives)} archives of {limit} bytes, not {most}: allow more "
                "or larger ones, or leave out --weights"
            )
        dropped.append(unfinished.pop()[0])
        packed.left_out[dropped[-1]] = f"does not fit {most} archives of {limit} bytes"
    packed.finished, packed.unfinished = [name for name, _ in finished], [name for name, _ in unfinished]
    together = hashlib.sha256()
    for archive in archives:
        for name, content in archive.items():
            together.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    label = together.hexdigest()[:12]
    packed.archives = [out / f"runs-{label}-{i + 1}-of-{len(archives)}.zip" for i in range(len(archives))]
    stale = [path for path in earlier if path not in packed.archives]
    if stale and not (replace or add):
        raise TrainError(
            f"{out} holds archives of another set, such as {stale[0].name}: choose another --out, or say --replace or "
            "--add"
        )
    make_folder(out)
    for i, (path, archive) in enumerate(zip(packed.archives, archives, strict=True), 1):
        write_whole(path, zipped(archive, {"set": label, "archive": i, "of": len(archives)}))
    if replace:
        new = dict((*finished, *unfinished))
        sets: dict[str, list[Path]] = {}
        for path in stale:
            sets.setdefault(path.name.split("-")[1], []).append(path)
        held = [paths for paths in sets.values() if _holds_more(paths, Path(root), new, dropped, packed.left_out)]
        packed.kept = [path for paths in held for path in paths]
        for path in {*stale} - {*packed.kept}:
            path.unlink()
    return packed


def _holds_more(
    archives: Sequence[Path],
    root: Path,
    new: Mapping[str, Members],
    dropped: Sequence[str],
    damaged: Mapping[str, str],
) -> bool:
    """Whether a set of archives holds what is neither in the new ones nor, whole, below the folder."""
    try:
        runs, _ = read(archives)
    except TrainError:
        return True
    for run in runs:
        name = run.config.id
        members = new.get(name, {})
        if run.finished and f"{name}/result.json" not in members:
            return True
        step = max((checkpoint_step(Path(file).name) for file in members), default=0)
        if not run.finished and f"{name}/result.json" not in members and run.step > step and name not in dropped:
            return True
        for file in {"weights.pt", "measures.json"} & run.files.keys():
            lacks = not (root / name / file).is_file() or f"{name}/{file}" in damaged
            if lacks and f"{name}/{file}" not in members:
                return True
    return False


def _held(archives: Sequence[Path]) -> dict[str, set[str]]:
    """The files of each finished run that archives hold."""
    archived: dict[str, set[str]] = {}
    for packed in read(archives)[0]:
        if packed.finished:
            archived.setdefault(packed.config.id, set()).update(packed.files)
    return archived


def zipped(members: Members, comment: dict[str, object] | None = None) -> bytes:
    """A zip archive that depends on its members alone, not on when it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)  # of 1980
            # Floating-point numbers hardly shrink, and text does.
            info.compress_type = zipfile.ZIP_STORED if ".pt" in name else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
        archive.comment = json.dumps(comment).encode() if comment else b""
    return buffer.getvalue()


def _members(run: RunFolder, last: Path, weights: bool, damaged: dict[str, str]) -> Members:
    """The files of a run that are worth carrying, by the name that they have in an archive, but damaged weights."""
    paths = [run.path / name for name in ("config.yaml", "provenance.jsonl", "metrics.jsonl")]
    paths += sorted((run.path / "kernels").glob("epoch-*.npz"))[-1:]
    paths += [run.path / "measures.json"] + [run.path / "weights.pt"] * weights + [last]
    members = {}
    for path in paths:
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".jsonl":  # a line may be torn, or in the middle of being written
                content = b"".join(line for line in content.splitlines(keepends=True) if _whole(line))
            if path.name == "weights.pt":
                try:
                    check(path.name, content, run.config)
                except Exception as error:  # whatever a parser says of damaged bytes
                    damaged[f"{run.path.name}/{path.name}"] = f"it is damaged: {error}"
                    continue
            members[f"{run.path.name}/{path.relative_to(run.path)}"] = content
    return members


def _checkpoint(run: RunFolder) -> tuple[Path | None, str]:
    """The newest checkpoint that can be read, or why there is none."""
    fault = "it has no checkpoint yet"
    for step in reversed(checkpoint.saved_steps(run.path)):
        try:
            checkpoint.load(run.path, step, run.config.as_dict())
        except TrainError as error:
            fault = str(error)
        else:
            return checkpoint.path_of(run.path, step), ""
    return None, fault


def _whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _fill(runs: Iterable[Members], limit: int) -> list[Members]:
    """Archives by first fit: a run goes together where there is room, files of a larger one by themselves, in parts."""
    archives: list[Members] = []
    free: list[int] = []

    def put(members: Members) -> None:
        size = len(zipped(members))
        place = next((i for i, room in enumerate(free) if room >= size), len(free))
        if place == len(free):
            archives.append({})
            free.append(limit - _RESERVED)
        archives[place] |= members
        free[place] -= size

    room = limit - _RESERVED
    for members in runs:
        if len(zipped(members)) <= room:
            put(members)
            continue
        for name, content in members.items():
            fits = len(zipped({name: content})) <= room
            for part, piece in [(name, content)] if fits else _cut(name, content, room - _ENTRIES):
                put({part: piece})
    return archives


def _cut(name: str, content: bytes, size: int) -> list[tuple[str, bytes]]:
    """A file as parts of at most ``size`` bytes."""
    count = -(-len(content) // size)
    return [(f"{name}.part-{i + 1}-of-{count}", content[i * size : (i + 1) * size]) for i in range(count)]
