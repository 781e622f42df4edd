"""What a run recorded, read back and checked: a file that is damaged is named, and no number is made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from retconv.train.files import TrainError

#: What of a session's provenance stands beside numbers in tables; all of it is in the run's folder.
ORIGIN = ("commit", "torch", "device", "threads", "replicas")
_NUMBER = (int, float)
#: What the object of each file must have, and of which type.
OBJECTS: dict[str, dict[str, Any]] = {
    "result.json": {"test_accuracy": _NUMBER, "test_loss": _NUMBER, "epochs": int, "test_images": int},
    "measures.json": {"images": int, "part": str, "commit": str, "tables": dict},
}
#: The same of each line of a file.
LINES: dict[str, dict[str, Any]] = {
    "provenance.jsonl": dict.fromkeys(ORIGIN, (str, int)),
    "metrics.jsonl": {"epoch": int},
}


class DamagedRunError(TrainError):
    """A file of a run is not what training wrote."""


def damaged(path: Path, fault: object) -> DamagedRunError:
    """The error that names a damaged file of a run, and what to do."""
    return DamagedRunError(
        f"{path} is damaged ({fault}): remove the run's folder, then merge the run from an archive or train it again"
    )


def require(kinds: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """The value, if it is an object that has each key with a value of its type.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(value, dict) or not all(
        key in value and isinstance(value[key], kind) for key, kind in kinds.items()
    ):
        raise ValueError(f"it must have {', '.join(kinds)}, each of its type")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """The object that a file of ``OBJECTS`` holds.

    Raises:
        DamagedRunError: If it holds something else.
    """
    try:
        return require(OBJECTS[path.name], json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of lines; lines torn by a kill are left out, and a file that is not there has none.

    Raises:
        DamagedRunError: If it holds anything else, by ``LINES``.
    """
    rows = []
    try:
        for line in path.read_bytes().decode().splitlines() if path.exists() else []:
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows.append(require(LINES.get(path.name, {}), value))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    return rows


def read_origin(folder: Path) -> dict[str, Any]:
    """``ORIGIN`` of the last session that trained a run.

    Raises:
        DamagedRunError: If none is recorded.
    """
    path = folder / "provenance.jsonl"
    sessions = read_lines(path)
    if not sessions:
        raise damaged(path, "no session is recorded")
    # Where the configuration leaves precision to the device, the session says which it was.
    return {key: sessions[-1][key] for key in (*ORIGIN, "precision") if key in sessions[-1]}


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Each epoch's numbers, in order; of an epoch that stands there twice, the last.

    Raises:
        DamagedRunError: If a line is not an epoch's.
    """
    rows = {row["epoch"]: row for row in read_lines(folder / "metrics.jsonl")}
    return [rows[epoch] for epoch in sorted(rows)]


def read_kernels(folder: Path) -> dict[int, dict[str, np.ndarray]]:
    """The kernels ``(heads, 2 n_1 − 1, …)`` of every mask by epoch, for the epochs that they were recorded for.

    Raises:
        DamagedRunError: If a file holds none.
    """
    kernels = folder / "kernels"
    if kernels.exists() and not kernels.is_dir():
        raise damaged(kernels, "it is no folder")
    epochs = {}
    for path in sorted(kernels.glob("epoch-*.npz")):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            if any(array.ndim < 2 or array.dtype.kind != "f" for array in arrays.values()):
                raise ValueError("it must hold real numbers by head and offset")
            epochs[int(path.stem.removeprefix("epoch-"))] = arrays
        except Exception as error:  # of numpy, zipfile, zlib and the parser of headers
            raise damaged(path, error) from error
    return epochs


def check(folder: Path) -> dict[str, Any]:
    """Read all that a run recorded, besides its kernels and weights.

    Returns:
        Its test result and origin; empty, if it is not finished.

    Raises:
        DamagedRunError: Naming the first file that is damaged.
    """
    if (folder / "measures.json").exists():
        read_object(folder / "measures.json")
    sessions, epochs = read_lines(folder / "provenance.jsonl"), read_lines(folder / "metrics.jsonl")
    if (folder / "result.json").exists():
        return read_object(folder / "result.json") | read_origin(folder)
    if epochs and not sessions:  # it is recorded before any epoch
        read_origin(folder)
    return {}
