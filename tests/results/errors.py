"""Errors of stored runs and of archives of them; ``test_errors`` raises each."""

from __future__ import annotations

import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import click
import torch
import yaml

from retconv.results import archive, merge, pack
from retconv.results.__main__ import main
from retconv.results.packing import zipped
from tests.error_table import Error
from tests.results.carried import MIB
from tests.train.small import tiny

CONFIG = yaml.safe_dump(tiny().as_dict()).encode()
ORIGIN = json.dumps({"commit": "x", "torch": "x", "device": "x", "threads": 1, "replicas": 1}).encode() + b"\n"
RESULT = b'{"test_accuracy": 0.5, "test_loss": 1.0, "epochs": 1, "test_images": 2}'
SOUND = {"config.yaml": CONFIG, "provenance.jsonl": ORIGIN, "result.json": RESULT}


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def in_folder(call: Callable[[Path], object]) -> Callable[[], object]:
    """A call that is given an empty folder."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            call(Path(folder))

    return run


def merging(files: dict[str, bytes | None], run: str = tiny().id, **comment: object) -> Callable[[], object]:
    """Merge an archive of one run's files."""

    def call(folder: Path) -> None:
        members = {f"{run}/{name}": content for name, content in (SOUND | files).items() if content is not None}
        about = {"set": "0" * 12, "archive": 1, "of": 1} | comment
        (folder / "bad.zip").write_bytes(zipped(members, about))
        merge([folder / "bad.zip"], folder / "runs")

    return in_folder(call)


def unfolding() -> None:
    """Kernels that deflate to little."""
    with mock.patch.dict(archive._LARGEST, {".npz": 2**16}):
        merging({"kernels/epoch-00001.npz": zipped({"a.npy": bytes(2**20)})})()


def twice(folder: Path) -> None:
    bad = folder / "bad.zip"
    bad.write_bytes(zipped({f"{tiny().id}/config.yaml": CONFIG}, {"set": "0" * 12, "archive": 1, "of": 1}))
    content = bad.read_bytes().replace(b"config.yaml", b"result.json")
    bad.write_bytes(content)
    with zipfile.ZipFile(bad, "a") as file:
        file.writestr(f"{tiny().id}/config.yaml", CONFIG)
    bad.write_bytes(bad.read_bytes().replace(b"result.json", b"config.yaml"))
    merge([bad], folder / "runs")


def stored(root: Path, seed: int = 0) -> None:
    """A finished run."""
    config = tiny(seed=seed)
    (root / config.id).mkdir(parents=True)
    files = SOUND | {"config.yaml": yaml.safe_dump(config.as_dict()).encode()}
    for name, content in files.items():
        (root / config.id / name).write_bytes(content)


def packing_twice(folder: Path) -> None:
    for seed in (0, 1):
        stored(folder / "runs", seed)
        pack(folder / "runs", folder / "out", 2**20)


def packing_too_much(folder: Path) -> None:
    for seed in (0, 1):
        stored(folder / "runs", seed)
        noise = random.Random(seed).randbytes(30_000).hex()
        (folder / "runs" / tiny(seed=seed).id / "metrics.jsonl").write_text(
            f'{{"epoch": 1, "noise": "{noise}"}}\n', encoding="utf-8"
        )
    pack(folder / "runs", folder / "out", 2**16, most=1)


def command(*arguments: str) -> None:
    """The command line, its exception not yet turned into an exit code."""
    main.main(list(arguments), standalone_mode=False)


def command_that_packs_twice(folder: Path) -> None:
    for seed in (0, 1):
        stored(folder / "runs", seed)
        with suppress(SystemExit):
            command("pack", "--root", str(folder / "runs"), "--out", str(folder / "out"))


def command_that_merges_nothing(folder: Path) -> None:
    (folder / "bad.zip").write_bytes(b"PK")
    command("merge", str(folder / "bad.zip"), "--root", str(folder / "runs"))


CHECKPOINT = "checkpoint-000000001.pt"

TABLES: dict[str, dict[str, Error]] = {
    "results": {
        "small limit": (
            in_folder(lambda folder: pack(folder, folder / "out", 1000)),
            ValueError,
            "an archive of 1000 bytes is too small: the limit must be at least 65536 bytes",
        ),
        "another set": (
            in_folder(packing_twice),
            RuntimeError,
            "holds archives of another set, such as runs-.*: choose another --out, or say --replace or --add",
        ),
        "too much": (
            in_folder(packing_too_much),
            RuntimeError,
            r"the finished runs of .* need \d archives of 65536 bytes, not 1: allow more or larger ones",
        ),
        "no zip": (in_folder(command_that_merges_nothing), click.ClickException, "bad.zip: File is not a zip file"),
        "command that shows to nowhere": (
            in_folder(lambda folder: command("show", "--root", str(folder), "--out", str(folder / "no" / "a.csv"))),
            click.ClickException,
            "cannot write .*a.csv.*choose another folder",
        ),
        "command that packs twice": (
            in_folder(command_that_packs_twice),
            click.ClickException,
            "say --replace or --add",
        ),
        "replaced and added to": (
            in_folder(lambda folder: pack(folder, folder / "out", MIB, replace=True, add=True)),
            ValueError,
            "replaced or added to, not both: choose one of replace and add",
        ),
        "command that replaces and adds": (
            in_folder(lambda f: command("pack", "--root", str(f), "--out", str(f), "--replace", "--add")),
            click.ClickException,
            "choose one of replace and add",
        ),
        "measures that are none": (
            merging({"measures.json": b'{"images": 1, "part": "test", "commit": "x", "tables": []}'}),
            RuntimeError,
            "measures.json: it must have images, part, commit, tables, each of its type",
        ),
        "set": (merging({}, set="x"), RuntimeError, "it is archive 1 of 1 of set 'x', .*; nothing was merged"),
        "one name": (in_folder(twice), RuntimeError, "two members have one name"),
        "outside": (merging({"../x": b""}), RuntimeError, r"bad.zip: '.*/../x': it is no plain file of a run"),
        "size": (merging({"config.yaml": bytes(2**19)}), RuntimeError, "524288 bytes are more than such a file"),
        "joined size": (
            merging({"result.json": None} | {f"result.json.part-{i}-of-2": bytes(2**20) for i in (1, 2)}),
            RuntimeError,
            "2097152 bytes are more than such a file",
        ),
        "other run": (merging({}, run="0" * 16), RuntimeError, f"its configuration is that of run {tiny().id}"),
        "result": (merging({"result.json": b"{}"}), RuntimeError, "result.json: it must have test_accuracy, test_loss"),
        "weights": (merging({"weights.pt": saved([1])}), RuntimeError, "weights.pt: it holds no weights by name"),
        "damaged weights": (
            merging({"weights.pt": saved({"text": "x" * 10_000}).replace(b"xxx", b"xyx", 1)}),
            RuntimeError,
            "weights.pt: its .*data.pkl is damaged",
        ),
        "another checkpoint": (
            merging(
                {
                    CHECKPOINT: saved(
                        dict.fromkeys(("model", "ema", "optimiser", "best", "sums", "random"), 0)
                        | {"config": tiny(seed=1).as_dict(), "step": 1}
                    )
                }
            ),
            RuntimeError,
            "it is the checkpoint of another step or run",
        ),
        "unfolding": (
            unfolding,
            RuntimeError,
            "kernels/epoch-00001.npz: it unfolds to 1048576 bytes, more than such a file can have",
        ),
    }
}
