"""Runs carried as archives: nothing is lost on the way."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from retconv.results import Store, merge, pack
from retconv.results.__main__ import main
from retconv.train import RunFolder, TrainError, checkpoint
from retconv.train.files import write_whole
from tests.compare import assert_exact
from tests.results.carried import MASKED, MIB, run, source_runs
from tests.train.killing import same_numbers, same_weights
from tests.train.small import tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_runs(tmp_path_factory.mktemp("source"))


def test_round_trip(source: Path, tmp_path: Path) -> None:
    """Finished runs are listed and counted, an unfinished one goes on to the same bits."""
    packed = pack(source, tmp_path / "out", MIB)
    assert (len(packed.archives), len(packed.finished), len(packed.unfinished)) == (1, 2, 1)
    merged = merge(packed.archives, tmp_path / "runs")
    assert len(merged.taken) == 3
    assert not merged.faults
    there, here = Store(tmp_path / "runs"), Store(source)
    configs = [replace(MASKED, seed=seed) for seed in (0, 1, 2)]
    assert [config.seed for config in there.missing(configs)] == [2]
    assert there.frame().equals(here.frame())
    assert there.metrics().equals(here.metrics())
    assert there.provenance().equals(here.provenance())
    assert list(there.kernels()["epoch"].unique()) == [1, 2]  # the last of each
    with pytest.raises(TrainError, match="merged without its weights: merge an archive packed with --weights"):
        RunFolder(tmp_path / "runs", configs[0]).weights()
    resumed, whole = run(tmp_path / "runs", 2), run(tmp_path / "whole", 2)
    assert [s["from_step"] for s in resumed.provenance()] == [0, 5]
    assert same_weights(resumed, whole)
    assert same_numbers(resumed, whole)


def test_weights_travel_on_request(source: Path, tmp_path: Path) -> None:
    merge(pack(source, tmp_path / "out", MIB, weights=True).archives, tmp_path / "runs")
    config = replace(MASKED, seed=1)
    assert same_weights(RunFolder(tmp_path / "runs", config), RunFolder(source, config))


def test_weights_are_added_to_a_run_that_was_merged_without(source: Path, tmp_path: Path) -> None:
    """To one of the same result; nothing else of it is touched."""
    root, config = tmp_path / "runs", replace(MASKED, seed=1)
    merge(pack(source, tmp_path / "without", MIB).archives, root)
    other = RunFolder(root, replace(MASKED, seed=0)).path / "result.json"
    other.write_text(other.read_text().replace("0.", "0.0", 1))
    before = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
    archives = pack(source, tmp_path / "with", MIB, weights=True).archives
    assert merge(archives, root).taken == [config.id]
    assert same_weights(RunFolder(root, config), RunFolder(source, config))
    assert not (other.parent / "weights.pt").exists()
    assert before == {path: path.read_bytes() for path in before}
    assert merge(archives, root).taken == []


def test_a_damaged_run_is_named_and_an_earlier_set_kept_for_it(source: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "runs", tmp_path / "out"
    earlier = pack(source, out, MIB).archives
    merge(earlier, root)
    config = root / replace(MASKED, seed=0).id / "config.yaml"
    config.write_text(config.read_text() + "unknown: 1\n")
    packed = pack(root, out, MIB, replace=True)
    assert "no option unknown" in packed.left_out[config.parent.name]
    assert {*out.glob("*.zip")} == {*earlier, *packed.archives}


def test_the_same_runs_at_another_limit_replace_the_set(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path, MIB)
    with pytest.raises(TrainError, match="another set"):
        pack(source, tmp_path, 2**16)
    packed = pack(source, tmp_path, 2**16, replace=True)
    assert sorted(tmp_path.glob("*.zip")) == sorted(packed.archives)


def test_any_file_may_be_larger_than_an_archive(tmp_path: Path) -> None:
    """Such as the kernels of masks."""
    finished = run(tmp_path / "runs")
    kernels = torch.rand(1, 2**16, generator=torch.Generator().manual_seed(0))
    finished.add_kernels(2, {"mask": kernels})
    packed = pack(tmp_path / "runs", tmp_path / "out", 2**16)
    assert all(path.stat().st_size <= 2**16 for path in packed.archives)
    assert not merge(packed.archives, tmp_path / "merged").faults
    assert_exact(torch.from_numpy(RunFolder(tmp_path / "merged", finished.config).kernels()[2]["mask"]), kernels)


def test_archives_keep_below_the_limit_and_what_is_larger_is_cut(source: Path, tmp_path: Path) -> None:
    """The checkpoint is larger than 64 KiB; finished runs come first; the same runs give the same bytes."""
    packed, again = (pack(source, tmp_path / name, 2**16) for name in ("out", "again"))
    assert len(packed.archives) > 1
    assert all(path.stat().st_size <= 2**16 for path in packed.archives)
    assert [a.read_bytes() for a in packed.archives] == [b.read_bytes() for b in again.archives]
    with zipfile.ZipFile(packed.archives[0]) as first:
        assert {name.split("/")[0] for name in first.namelist()} >= set(packed.finished)
    merged = merge(packed.archives[::-1], tmp_path / "runs")
    assert not merged.faults
    assert Store(tmp_path / "runs").metrics().equals(Store(source).metrics())
    assert checkpoint.saved_steps(tmp_path / "runs" / packed.unfinished[0]) == [5]


def test_a_run_that_is_not_whole_is_named_and_the_others_merge(source: Path, tmp_path: Path) -> None:
    packed = pack(source, tmp_path / "out", 2**16)
    merged = merge(packed.archives[:-1], tmp_path / "runs")
    assert sorted(merged.taken) == sorted(packed.finished)
    assert any(packed.unfinished[0] in fault and "not whole" in fault for fault in merged.faults)
    assert any("was not given" in fault for fault in merged.faults)
    assert [path.name for path in (tmp_path / "runs").glob("*/config.yaml")] == ["config.yaml"] * 2


def test_no_run_is_left_out_silently(source: Path, tmp_path: Path) -> None:
    """One too large for the archives allowed, and one without a checkpoint, are named; a damaged one is passed over."""
    packed = pack(source, tmp_path / "out", 2**16, most=1)
    assert len(packed.archives) == 1
    assert list(packed.left_out) == [replace(MASKED, seed=2).id]
    stopped = run(tmp_path / "runs", 3, stop=3)
    newest = stopped.path / "checkpoint-000000003.pt"
    newest.write_bytes(newest.read_bytes()[:-10])
    begun = RunFolder(tmp_path / "runs", tiny())
    with begun.claimed():
        packed = pack(tmp_path / "runs", tmp_path / "out2", MIB)
    assert "no checkpoint yet" in packed.left_out[begun.path.name]
    assert packed.unfinished == [stopped.path.name]
    merge(packed.archives, tmp_path / "merged")
    assert checkpoint.saved_steps(tmp_path / "merged" / stopped.path.name) == [2]


def test_the_newest_step_wins_and_a_finished_run_is_never_replaced(tmp_path: Path) -> None:
    """In any order; lines of metrics are united."""
    roots = {name: tmp_path / name for name in ("early", "late", "finished")}
    for name, stop in {"early": 5, "late": 7, "finished": None}.items():
        run(roots[name], stop=stop)
    lines = {"early": '{"epoch": 1, "note": "early"}\n', "late": '{"epoch": 1, "note": "late"}\n'}
    for name, line in lines.items():
        (roots[name] / MASKED.id / "metrics.jsonl").write_text(line)
    archives = {name: pack(root, tmp_path / f"of-{name}", MIB).archives for name, root in roots.items()}
    for order in (("early", "late"), ("late", "early")):
        root = tmp_path / "-".join(order)
        assert len(merge(archives[order[0]], root).taken) == 1
        assert len(merge(archives[order[1]], root).taken) == (order[1] == "late")
        assert checkpoint.saved_steps(root / MASKED.id)[-1] == 7
        merged = RunFolder(root, MASKED)
        assert (merged.path / "metrics.jsonl").read_text() == lines["early"] + lines["late"]
        assert merged.metrics() == [{"epoch": 1, "note": "late"}]
        merge(archives["finished"], root)
        assert merged.result() == RunFolder(roots["finished"], MASKED).result()
        assert not checkpoint.saved_steps(merged.path)
        before = {path: path.read_bytes() for path in merged.path.rglob("*") if path.is_file()}
        assert merge([*archives["early"], *archives["late"], *archives["finished"]], root).taken == []
        assert before == {path: path.read_bytes() for path in merged.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("there", [False, True])
def test_a_merge_that_is_killed_leaves_no_half_run_and_can_be_repeated(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """At every file that it writes, into an empty folder and onto a run that has begun."""
    archives = pack(source, tmp_path / "out", MIB).archives
    whole = Store(source).frame()
    count = 0
    for die_at in range(1, 30):
        root = tmp_path / f"runs-{die_at}"
        if there:
            run(root, 0, stop=1)
        written = 0

        def dying(path: Path, content: bytes, die_at: int = die_at) -> None:
            nonlocal written
            written += 1
            if written == die_at:
                raise KeyboardInterrupt
            write_whole(path, content)

        monkeypatch.setattr("retconv.results.merging.write_whole", dying)
        try:
            merge(archives, root)
            break
        except KeyboardInterrupt:
            count += 1
        monkeypatch.undo()
        store = Store(root)
        assert store.damaged() == {}
        for found in store.runs():
            assert found.finished or checkpoint.saved_steps(found.path)
            assert found.origin()
            if found.finished:
                assert [row["epoch"] for row in found.metrics()] == [1, 2]
        merge(archives, root)
        assert Store(root).frame().equals(whole)
    assert count >= 10


def test_commands(source: Path, tmp_path: Path) -> None:
    """Pack, merge, show, and the exit codes that tell what is not whole."""

    def command(*arguments: str | Path) -> tuple[int, str]:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        return result.exit_code, result.output

    out, root = tmp_path / "out", tmp_path / "runs"
    code, said = command("pack", "--root", source, "--out", out)
    assert code == 0, said
    assert "2 finished and 1 unfinished runs packed" in said
    (archive,) = out.glob("*.zip")
    assert command("merge", archive, "--root", root) == (0, f"3 runs merged into {root}, 0 that were there kept\n")
    for arguments in (["--root", root], ["show", "--root", root]):
        code, said = command(*arguments)
        assert code == 0
        assert replace(MASKED, seed=1).id in said
    code, said = command("pack", "--root", root, "--out", out, "--limit-mib", "0.0625", "--archives", "1")
    assert code == 1
    assert "holds archives of another set" in said
    code, said = command("pack", "--root", root, "--out", out, "--limit-mib", "0.0625", "--archives", "1", "--replace")
    assert code == 3
    assert "does not fit 1 archives" in said
    assert len(list(out.glob("*.zip"))) == 1
    assert command("merge", *out.glob("*.zip"), "--root", root)[0] == 0
    archive.write_bytes(b"")
    assert command("merge", archive, "--root", root)[0] == 2
    for arguments in (["--help"], ["pack", "--help"], ["merge", "--help"], ["show", "--help"]):
        assert "Example" in command(*arguments)[1]
