"""A damaged run is left out of every table and named with its file; the others are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from retconv.results import Store, merge, pack
from retconv.results.__main__ import main
from retconv.train import RunFolder, TrainError
from tests.results.carried import MIB, UNTRAINED, by_hand
from tests.train.small import tiny

GOOD, BAD = UNTRAINED
FILES = ("config.yaml", "result.json", "provenance.jsonl", "metrics.jsonl", "measures.json", "kernels/epoch-00001.npz")


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def writing(content: bytes | Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))


WAYS: dict[str, Callable[[Path], object]] = {
    "half": writing(lambda content: content[: len(content) // 2].rsplit(b"\n")[0]),
    "empty": writing(b""),
    "no UTF-8": writing(lambda content: content.replace(b"e", b"\xe9") + b"\xe9\n"),
    "deep": writing(b"[" * 100_000 + b"]" * 100_000),
    "other": writing(b'{"a": 1}\n'),
    "number": writing(b"1\n"),
    "digits": writing(b'{"epoch": ' + b"1" * 5000 + b"}\n"),
    "NUL": writing(lambda content: bytes(len(content))),
    "folder": replaced_by_folder,
    "gone": Path.unlink,
}
#: What may be: an epoch is lost with power, an unmeasured run has no measures, one that is not finished no result.
SOUND = {(way, "metrics.jsonl") for way in ("half", "empty", "NUL", "gone")} | {
    ("gone", "measures.json"),
    ("gone", "result.json"),
    ("gone", "kernels/epoch-00001.npz"),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_damaged_is_named_and_the_other_runs_are_read(tmp_path: Path, way: str, file: str) -> None:
    by_hand(tmp_path)
    path = tmp_path / BAD.id / file
    WAYS[way](path)
    for store in (Store(tmp_path), Store(tmp_path)):  # the second by the index
        damaged = store.damaged()
        assert list(damaged) == ([] if (way, file) in SOUND else [path.parents[file.count("/")]])
        assert all(str(path) in fault for fault in damaged.values())
        tables = {what: getattr(store, what)() for what in ("frame", "metrics", "provenance", "kernels")}
        assert all(GOOD.id in set(table["run"]) for table in tables.values())
        if damaged:
            left_out = [tables["kernels"]] if "kernels" in file else tables.values()
            assert all(BAD.id not in set(table["run"]) for table in left_out)


def test_other_damage_of_kernels_is_named_too(tmp_path: Path) -> None:
    """A flipped bit, an array that is no kernel, a file in the place of their folder."""
    by_hand(tmp_path)
    folder = tmp_path / BAD.id / "kernels"
    path = folder / "epoch-00001.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    assert "Bad CRC-32" in Store(tmp_path).damaged()[tmp_path / BAD.id]
    np.savez(path, a=np.array(1.0))
    assert "by head and offset" in Store(tmp_path).damaged()[tmp_path / BAD.id]
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    assert "it is no folder" in Store(tmp_path).damaged()[tmp_path / BAD.id]


def test_the_command_names_what_it_leaves_out_and_shows_the_rest(tmp_path: Path) -> None:
    by_hand(tmp_path)
    (tmp_path / BAD.id / "result.json").write_text('{"test_acc')
    shown = CliRunner().invoke(main, ["show", "--root", str(tmp_path)])
    assert shown.exit_code == 0
    assert f"left out: {BAD.id}: {tmp_path / BAD.id / 'result.json'} is damaged (" in shown.stderr
    assert GOOD.id in shown.stdout
    assert BAD.id not in shown.stdout


def test_a_damaged_run_is_not_packed_and_the_archive_brings_it_back(tmp_path: Path) -> None:
    """As the error says: remove the folder, then merge the run."""
    root = tmp_path / "runs"
    by_hand(root)
    archives = pack(root, tmp_path / "out", MIB).archives
    whole = Store(root).frame()
    for file in FILES:
        (root / BAD.id / file).write_bytes(b"1\n")
        packed = pack(root, tmp_path / f"of-{Path(file).name}", MIB)
        assert packed.finished == [GOOD.id]
        assert file in packed.left_out[BAD.id]
        shutil.rmtree(root / BAD.id)
        assert merge(archives, root).taken == [BAD.id]
        assert Store(root).frame().equals(whole)
        assert not Store(root).damaged()


def test_what_reads_one_run_names_the_file(tmp_path: Path) -> None:
    """Errors go through worker processes, hence are whole when they are copied."""
    by_hand(tmp_path)
    run = RunFolder(tmp_path, BAD)
    for file, read in (("weights.pt", run.weights), ("result.json", run.result), ("provenance.jsonl", run.origin)):
        (run.path / file).write_bytes(b"")
        with pytest.raises(TrainError, match=rf"{file} is damaged \(.*remove the run's folder, then merge"):
            read()


def test_a_run_that_has_just_begun_or_is_being_written_is_no_damaged_one(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, tiny(seed=7))
    with run.claimed():
        assert not Store(tmp_path).damaged()
        run.add_provenance(json.loads((by_hand(tmp_path) / GOOD.id / "provenance.jsonl").read_text()))
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 1}\n{"epo')
            file.flush()
            store = Store(tmp_path)
            assert not store.damaged()
            assert list(store.metrics().query(f"run == '{run.path.name}'")["epoch"]) == [1]
    (tmp_path / ".merge").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / ("0" * 16)).mkdir()
    assert not Store(tmp_path).damaged()


def test_runs_that_are_not_finished_are_counted(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["show", "--root", str(tmp_path)]).output == f"no runs below {tmp_path}\n"
    folder = tmp_path / tiny().id
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(tiny().as_dict()), encoding="utf-8")
    said = CliRunner().invoke(main, ["show", "--root", str(tmp_path)]).output
    assert said == f"no finished runs below {tmp_path}, 1 unfinished\n"
