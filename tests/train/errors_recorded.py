"""Errors of what a run recorded; ``test_errors`` raises each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from retconv.train import RunFolder, parse
from retconv.train.recorded import DamagedRunError, check, read_kernels, read_lines, read_object
from tests.error_table import Error
from tests.train.small import tiny


def holding(files: dict[str, bytes], read: Callable[[Path], object]) -> Callable[[], object]:
    """Read a folder that holds files."""

    def call() -> None:
        with tempfile.TemporaryDirectory() as name:
            for file, content in files.items():
                path = Path(name) / file
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            read(Path(name))

    return call


def kernels(folder: Path) -> None:
    (folder / "kernels").mkdir()
    np.savez(folder / "kernels" / "epoch-00001.npz", a=np.array(1.0))
    read_kernels(folder)


def no_weights(folder: Path) -> None:
    run = RunFolder(folder, tiny())
    run.path.mkdir()
    (folder / "result.json").rename(run.path / "result.json")
    (run.path / "weights.pt").write_bytes(b"PK")
    run.weights()


RESULT = b'{"test_accuracy": 0.5, "test_loss": 1.0, "epochs": 1, "test_images": 2}'
REMEDY = "remove the run's folder, then merge the run from an archive or train it again"

TABLES: dict[str, dict[str, Error]] = {
    "recorded": {
        "half a result": (
            holding({"result.json": RESULT[:20]}, lambda folder: read_object(folder / "result.json")),
            DamagedRunError,
            rf"result.json is damaged \(Expecting .*{REMEDY}",
        ),
        "metrics without epoch": (
            holding({"metrics.jsonl": b'{"loss": 1}\n'}, lambda folder: read_lines(folder / "metrics.jsonl")),
            DamagedRunError,
            r"metrics.jsonl is damaged \(it must have epoch, each of its type\)",
        ),
        "no provenance": (
            holding({"result.json": RESULT}, check),
            DamagedRunError,
            r"provenance.jsonl is damaged \(no session is recorded\)",
        ),
        "kernels that are no folder": (
            holding({"kernels": b""}, read_kernels),
            DamagedRunError,
            r"kernels is damaged \(it is no folder\)",
        ),
        "kernels that are no archive": (
            holding({"kernels/epoch-00001.npz": b"PK"}, read_kernels),
            DamagedRunError,
            "epoch-00001.npz is damaged",
        ),
        "kernels without offsets": (holding({}, kernels), DamagedRunError, "must hold real numbers by head and offset"),
        "weights": (holding({"result.json": RESULT}, no_weights), DamagedRunError, "weights.pt is damaged"),
        "an option that has no name": (
            lambda: parse({"model": {"options": {"since": np.datetime64("2024-01-01")}}}),
            ValueError,
            "model.options must hold numbers, text, true, false, null, lists and mappings of them: .*datetime64",
        ),
        "no mapping at all": (lambda: parse([1]), ValueError, r"it must be a mapping of options, got \[1\]"),  # type: ignore[arg-type]
    }
}
