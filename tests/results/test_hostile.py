"""Archives of runs may come from anywhere: nothing wrong gets in, and nothing in them runs."""

from __future__ import annotations

import io
import json
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from retconv.results import merge, pack
from retconv.results.packing import zipped
from retconv.train import TrainError
from tests.results.carried import MIB, source_runs
from tests.train.small import tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_runs(tmp_path_factory.mktemp("source"))


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def members_of(archive: Path) -> tuple[dict[str, bytes], dict]:
    with zipfile.ZipFile(archive) as read:
        return {name: read.read(name) for name in read.namelist()}, json.loads(read.comment)


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def change(name: str, content: Callable[[Path], bytes]) -> Callable[[dict[str, bytes], Path], dict[str, bytes]]:
    """An archive in which the files of that name hold something else."""
    return lambda members, mark: {n: content(mark) if n.endswith(name) else c for n, c in members.items()}


def add(name: str) -> Callable[[dict[str, bytes], Path], dict[str, bytes]]:
    return lambda members, mark: members | {name: b"{}"}


def bomb() -> bytes:
    """Aliases of aliases, which stand for 9^20 values."""
    return "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 9)}]\n" for i in range(20)).encode()


RUN = "0123456789abcdef"
HOSTILE = {
    "absolute path": (add("/etc/passwd"), "'/etc/passwd': it is no plain file of a run"),
    "path outside": (add(f"{RUN}/../../x"), "no plain file of a run"),
    "path outside, short": (add("../result.json"), "no plain file of a run"),
    "windows path": (add(f"{RUN}\\result.json"), "no plain file of a run"),
    "unknown file": (add(f"{RUN}/run.py"), "no plain file of a run"),
    "file at the top": (add("result.json"), "no plain file of a run"),
    "pickle in kernels": (
        change(".npz", lambda mark: saved(lambda out: np.savez(out, a=np.array([Evil(mark)], dtype=object)))),
        "allow_pickle=False",
    ),
    "pickle instead of kernels": (change(".npz", lambda mark: pickle.dumps(Evil(mark))), "not a zip file"),
    "pickle in a checkpoint": (
        change(".pt", lambda mark: saved(lambda out: torch.save({"step": Evil(mark)}, out))),
        "[Ww]eights.only",
    ),
    "old pickle as a checkpoint": (change(".pt", lambda mark: pickle.dumps(Evil(mark))), "not a zip file"),
    "another checkpoint": (
        change(".pt", lambda mark: saved(lambda out: torch.save({"step": 5}, out))),
        "must have config",
    ),
    "another configuration": (
        change("config.yaml", lambda mark: yaml.safe_dump(tiny().as_dict()).encode()),
        f"its configuration is that of run {tiny().id}",
    ),
    "no configuration": (change("config.yaml", lambda mark: b"sede: 1"), "no option sede"),
    "code in yaml": (change("config.yaml", lambda mark: b"!!python/object/apply:os.getcwd []"), "python/object"),
    "aliases": (change("config.yaml", lambda mark: bomb()), "aliases written out"),
    "torn result": (change("result.json", lambda mark: b'{"test_acc'), "Unterminated string"),
    "result without numbers": (change("result.json", lambda mark: b"{}"), "must have test_accuracy"),
    "deep metrics": (change("metrics.jsonl", lambda mark: b"[" * 10**6), "recursion"),
    "metrics without epoch": (change("metrics.jsonl", lambda mark: b'{"epoch": "x"}\n'), "must have epoch"),
    "provenance without host": (change("provenance.jsonl", lambda mark: b"{}\n"), "must have commit"),
    "huge": (change("config.yaml", lambda mark: b" " * 2**19), "more than such a file can have"),
}


@pytest.mark.parametrize(("spoil", "fault"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_is_written(
    source: Path, tmp_path: Path, spoil: Callable, fault: str
) -> None:
    """Naming archive and member; with a good archive beside it, which is not merged either."""
    members, comment = members_of(pack(source, tmp_path / "out", MIB).archives[0])
    good, bad, mark = tmp_path / "good.zip", tmp_path / "bad.zip", tmp_path / "mark"
    good.write_bytes(zipped(members, comment))
    bad.write_bytes(zipped(spoil(members, mark), comment | {"set": "0" * 12}))
    with pytest.raises(TrainError, match=rf"(?s)bad.zip: .*{fault}.*; nothing was merged"):
        merge([good, bad], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert not mark.exists()


def test_a_symbolic_link_and_a_truncated_archive_are_refused(source: Path, tmp_path: Path) -> None:
    archive = pack(source, tmp_path / "out", MIB).archives[0]
    members, comment = members_of(archive)
    link = zipfile.ZipInfo(f"{RUN}/result.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    linked, doubled = tmp_path / "linked.zip", tmp_path / "doubled.zip"
    linked.write_bytes(zipped(members, comment))
    doubled.write_bytes(zipped(members, comment))
    with zipfile.ZipFile(linked, "a") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(doubled, "a") as file:
        file.writestr(next(iter(members)), "{}")
    content = archive.read_bytes()
    short, altered, plain = tmp_path / "short.zip", tmp_path / "altered.zip", tmp_path / "plain.zip"
    short.write_bytes(content[:-100])
    middle = content.index(b"checkpoint-") + 40_000  # inside of its first member of that name
    altered.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    plain.write_bytes(zipped(members))
    for path, fault in {
        linked: "no plain file",
        doubled: "two members have one name",
        short: "nothing was merged",
        altered: "Bad CRC-32",
        plain: "nothing was merged",
    }.items():
        with pytest.raises(TrainError, match=fault):
            merge([path], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
