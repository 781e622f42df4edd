"""Putting runs from archives among those below a folder: the newest step wins, and nothing finished is lost."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from retconv.results.archive import PackedRun, checkpoint_step, read
from retconv.train import RunFolder, checkpoint
from retconv.train.files import make_folder, write_whole

#: Where a new run is put together before it gets its name.
_STAGED = ".merge"


@dataclass
class Merged:
    """What ``merge`` did.

    Attributes:
        taken: Names of the runs that the archives had more of.
        kept: Names of those that the folder had as much of, or more.
        faults: A line for each archive or run that is not whole.

    Example:
        >>> import tempfile
        >>> retconv.results.merge([], tempfile.mkdtemp()).taken
        []
    """

    taken: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def merge(archives: Sequence[str | Path], root: str | Path) -> Merged:
    """Merge the runs of archives, which may be of several sets, into those below a folder.

    All of the archives are checked before anything is written. A finished run goes before an unfinished one, and a
    later checkpoint before an earlier one; to a finished run that is there only weights and measures that it lacks are
    added. Lines of metrics and provenance are united, those of the winner last. A new run appears whole, by the
    renaming of a folder; to one that is there a result is written last. So the same command again completes what was
    killed.

    Args:
        archives: Written by ``pack``.
        root: Folder of all runs.

    Raises:
        TrainError: If an archive is refused, naming it and its member, a run is being trained by another process, or
            the disk is full.

    Example:
        >>> import tempfile
        >>> merge([], tempfile.mkdtemp()).faults
        []
    """
    runs, faults = read([Path(archive) for archive in archives])
    merged = Merged(faults=faults)
    make_folder(Path(root))
    with filelock.FileLock(Path(root) / ".merge.lock"):
        shutil.rmtree(Path(root) / _STAGED, ignore_errors=True)
        for packed in runs:
            run = RunFolder(root, packed.config)
            (merged.taken if _take(packed, run) else merged.kept).append(run.path.name)
    return merged


def _take(packed: PackedRun, run: RunFolder) -> bool:
    """Merge one run; whether the archive had more of it than the folder."""
    if not run.path.exists():
        staged = run.path.parent / _STAGED / run.path.name
        _write(packed.files, staged)
        staged.rename(run.path)
        return True
    with run.claimed():
        if run.finished:
            return _add(packed, run)
        here = max(checkpoint.saved_steps(run.path), default=0)
        wins = packed.finished or packed.step > here
        files = {name: content for name, content in packed.files.items() if wins and name != "config.yaml"}
        for name in {"weights.pt", "measures.json"} - files.keys() if packed.finished else ():
            (run.path / name).unlink(missing_ok=True)  # of a result that was never written here
        for name in ("provenance.jsonl", "metrics.jsonl"):
            ours, theirs = _lines(run.path / name), packed.files.get(name, b"").splitlines(keepends=True)
            first, last = (ours, theirs) if wins else (theirs, ours)
            files[name] = b"".join([line for line in first if line not in last] + last)
        _write(files, run.path)
        checkpoint.prune(run.path, keep=0 if packed.finished else checkpoint.KEPT)
    return wins


def _add(packed: PackedRun, run: RunFolder) -> bool:
    """Give a finished run weights and measures that it lacks, if they are of the same result."""
    same = (run.path / "result.json").read_bytes() == packed.files.get("result.json")
    lacking = [name for name in ("weights.pt", "measures.json") if not (run.path / name).exists()]
    added = {name: packed.files[name] for name in lacking if same and name in packed.files}
    _write(added, run.path)
    return bool(added)


def _lines(path: Path) -> list[bytes]:
    """Whole lines of a file."""
    content = path.read_bytes() if path.is_file() else b""
    return [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


def _write(files: dict[str, bytes], folder: Path) -> None:
    """Write files whole, the provenance before what it stands beside, checkpoints and the result last."""
    order = ("provenance.jsonl", "metrics.jsonl")
    late = [name for name in files if checkpoint_step(name)] + ["result.json"] * ("result.json" in files)
    early = [name for name in order if name in files]
    for name in [*early, *(n for n in files if n not in (*early, *late)), *late]:
        make_folder((folder / name).parent)
        write_whole(folder / name, files[name])
