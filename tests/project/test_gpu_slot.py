"""A short stay on a GPU, rehearsed on the CPU: ended in time, and killed in the middle of a study."""

from __future__ import annotations

import fcntl
import importlib
import json
import runpy
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from retconv.bench.__main__ import main as bench
from retconv.results import Store, merge
from tests.data.on_disk import random_split, write_parquet
from tests.train.small import BASE

TREE = Path(__file__).parents[2]
#: Stages that a slot runs here as processes; the others are run in this one, which has imported torch.
REHEARSED = ("tests",)
RACES = tuple(f"bench {name}" for name in ("steps", "others", "fused", "retention", "operator"))
OTHERS = ("facts", "data", "smoke", *RACES)


def slot(folder: Path, *skip: str) -> list[str]:
    """The command, with a study of two runs: one of a moment, one that takes long enough to be killed."""
    model = {"name": "retconv_vit_tiny", "options": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}}
    base = BASE | {"data": {"name": "digits", "validation": 0.8}, "model": model}
    (folder / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    arms = {"short": {"schedule.epochs": 2}, "long": {"schedule.epochs": 12}}
    text = yaml.safe_dump({"recipe": "base.yaml", "arms": arms}, sort_keys=False)
    (folder / "two.yaml").write_text(text, encoding="utf-8")
    command = [str(TREE / "scripts/gpu_slot"), "--toy", "--device", "cpu", "--budget", "600"]
    command += ["--out", str(folder / "out"), "--root", str(folder / "runs"), "--study", str(folder / "two.yaml")]
    return command + [word for stage in skip for word in ("--skip", stage)]


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out/summary.json").read_text(encoding="utf-8"))["stages"]


def finished(root: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in root.glob("*/result.json")}


def taken_home(folder: Path) -> list[Path]:
    return [path for path in (folder / "out").rglob("*") if path.is_file()]


def test_a_slot_runs_its_stages_and_a_kill_loses_no_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu_slot: Any
) -> None:
    """Killed once a run is finished and packed; the next slot goes on, and its archives hold both runs."""
    monkeypatch.setenv("RETCONV_COMMIT", "planted")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = subprocess.Popen([sys.executable, *slot(tmp_path, *OTHERS)], stdout=subprocess.DEVNULL)
    archives = tmp_path / "out/archives"
    while first.poll() is None and not any(archives.glob("*.zip")):
        time.sleep(0.05)
    first.kill()
    first.wait()
    before, stages = finished(tmp_path / "runs"), summary(tmp_path)
    log = (tmp_path / "out/slot.log").read_text(encoding="utf-8")
    study = f"study {tmp_path / 'two.yaml'}"
    statuses = {name: facts["status"] for name, facts in stages.items()}
    # Asked to be skipped: tests below run facts, data, smoke and a benchmark in this process, tests/bench the others.
    assert statuses == dict.fromkeys(OTHERS, "skipped") | dict.fromkeys(REHEARSED, "done") | {study: "running"}, log
    packed = merged(archives, tmp_path / "home")
    assert packed
    assert packed.items() <= before.items()

    monkeypatch.setattr(sys, "argv", slot(tmp_path, *OTHERS, *REHEARSED))
    gpu_slot.main()
    assert [facts["status"] for facts in summary(tmp_path).values()] == ["skipped"] * 9 + ["done"] * 2
    after = finished(tmp_path / "runs")
    assert after == after | before
    assert len(after) == 2
    assert merged(archives, tmp_path / "home") == after
    frame = Store(tmp_path / "home").provenance()
    assert set(frame["commit"]) == {"planted"}
    assert len(taken_home(tmp_path)) <= 8
    assert max(path.stat().st_size for path in taken_home(tmp_path)) <= 16 << 20


def merged(archives: Path, root: Path) -> dict[str, bytes]:
    """The finished runs after merging."""
    merge(archives.glob("*.zip"), root)
    return finished(root)


@pytest.fixture
def gpu_slot(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    loader = SourceFileLoader("gpu_slot", str(TREE / "scripts/gpu_slot"))
    module = module_from_spec(spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, loader.name, module)
    monkeypatch.setattr(sys, "path", [*sys.path])
    loader.exec_module(module)
    monkeypatch.setattr(module, "GRACE", 0.5)
    return module


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a script in this process: its exit code, what it found, and all that it printed."""

    def run(script: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        monkeypatch.setattr(sys, "path", [*sys.path])
        code: Any = 0
        try:
            runpy.run_path(str(TREE / script), run_name="__main__")
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr().out
        return int(code or 0), json.loads(said.splitlines()[-1]), said

    return run


def commands(gpu_slot: Any, folder: Path, toy: bool) -> dict[str, list[str]]:
    """What each stage starts, after the interpreter."""
    stages = gpu_slot._stages(
        gpu_slot.Slot(600.0, folder, folder, "cpu", toy), folder, ["digits"], str(folder / "lock")
    )
    return {name: command[1:] for name, command in stages.items()}


def test_facts_and_smoke_find_what_they_look_for(tmp_path: Path, gpu_slot: Any, ran: Any) -> None:
    stages = commands(gpu_slot, tmp_path, toy=True)
    code, facts, _ = ran(*stages["facts"])
    assert code == 0
    assert facts["float32_tflops"] > 0
    code, smoke, said = ran(*stages["smoke"])
    assert code == 0, said
    assert smoke["faults"] == {}
    assert smoke["paths"] > 4


@pytest.mark.parametrize("toy", [True, False])
def test_benchmarks_know_the_options_that_they_are_given(tmp_path: Path, gpu_slot: Any, toy: bool) -> None:
    """Only the operator's is run here; tests/bench run what steps, fused and retention do."""
    stages = {name: command for name, command in commands(gpu_slot, tmp_path, toy).items() if name in RACES}
    assert [*stages] == [*RACES]
    for name, (_, module, command, *options) in stages.items():
        assert module == "retconv.bench"
        assert bench.commands[command].make_context(command, options).params["out"] == tmp_path / f"{name[6:]}.csv"
        if toy and command == "operator":
            result = CliRunner().invoke(bench, [command, *options])
            assert result.exit_code == 0, result.output
            assert (tmp_path / f"{name[6:]}.csv").is_file()


def test_a_stage_that_fails_or_overruns_stops_no_other(tmp_path: Path, gpu_slot: Any) -> None:
    """One that is deaf to a request to stop is killed with what it started; a limit never exceeds what is left."""
    deaf = "trap '' TERM; sleep 60 & echo '{\"child\":' $!'}'; wait"
    stay = gpu_slot.Slot(9.0, tmp_path, tmp_path / "runs", "cpu", True)
    stay.run("fails", ["sh", "-c", "echo no; exit 4"], 5.0)
    stay.run("leaves", ["sh", "-c", "sleep 60 & echo '{\"child\":' $!'}'; exit 3"], 5.0)
    stay.run("noisy", ["sh", "-c", "yes | head -c 20000000"], 5.0)
    stay.run("deaf", ["bash", "-c", deaf], 2.0)
    stay.run("stopped", ["sh", "-c", "exit 3"], 5.0)
    stay.run("long", ["sleep", "60"], 60.0)
    stay.run("late", ["true"], 60.0)
    stages = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["stages"]
    statuses = [facts["status"] for facts in stages.values()]
    assert statuses == ["failed", "unfinished", "done", "too long", "unfinished", "too long", "no time left"]
    assert stages["fails"]["code"] == 4
    assert stages["long"]["limit"] < 9
    for name in ("leaves", "deaf"):
        assert not Path(f"/proc/{stages[name]['found']['child']}").exists()
    log = (tmp_path / "slot.log").read_text(encoding="utf-8")
    assert "no\n" in log
    assert len(log) < 2 * sys.modules["gpu_process"].KEPT


def test_a_stage_beside_runs_at_the_same_time_and_holds_up_no_other(tmp_path: Path, gpu_slot: Any) -> None:
    """Each of the first two waits for a file of the other's; another overruns and is killed, while two go on."""
    stay = gpu_slot.Slot(30.0, tmp_path, tmp_path / "runs", "cpu", True)
    meet = 'touch {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.05; done; echo \'{{"name": "{1}"}}\'; exit {3}'
    stay.beside("data", ["sh", "-c", meet.format(tmp_path, "data", "smoke", 1)], 20.0)
    stay.run("smoke", ["sh", "-c", meet.format(tmp_path, "smoke", "data", 0)], 20.0)
    stay.settle()
    stay.beside("long", ["sleep", "60"], 2.0)
    stay.run("tests", ["true"], 5.0)
    assert stay.stages["long"]["status"] == "running"
    stay.settle()
    stages = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["stages"]
    statuses = {name: facts["status"] for name, facts in stages.items()}
    assert statuses == {"data": "failed", "smoke": "done", "long": "too long", "tests": "done"}
    assert all(stages[name]["found"] == {"name": name} for name in ("data", "smoke"))
    assert '\n{"name": "data"}\n\n=== data: failed' in (tmp_path / "slot.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(("given", "order"), [([], ["short", "main", "tiny_imagenet"]), (["digits"], ["digits"])])
def test_studies_have_an_order_and_wait_for_their_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu_slot: Any, given: list[str], order: list[str]
) -> None:
    """Their data are decoded beside smoke and tests, and waited for before anything is timed."""
    done: list[Any] = []
    untimed: list[str] = []

    def run(stay: Any, name: str, *rest: Any) -> None:
        done.append(name)
        with (tmp_path / "runs-lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                untimed.append(name)

    monkeypatch.setattr(gpu_slot.Slot, "run", run)
    monkeypatch.setattr(gpu_slot.Slot, "beside", lambda stay, name, command, limit: done.extend([name, command[2:]]))
    monkeypatch.setattr(gpu_slot.Slot, "settle", lambda stay: done.append("settled"))
    options = ["--budget", "600", "--out", str(tmp_path / "out"), "--root", str(tmp_path / "runs"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["gpu_slot", *options, *(word for name in given for word in ("--study", name))])
    gpu_slot.main()
    names = [what for what in done if isinstance(what, str)]
    assert done[:3] == ["facts", "data", order]
    assert untimed == ["smoke", "tests"]
    assert names[2:9] == ["bench steps", "smoke", "tests", "settled", "bench others", "bench fused", "settled"]
    assert done[-len(order) - 1 :] == ["settled", *(f"study {name}" for name in order)]


def test_a_study_of_which_a_run_has_crashed_is_not_done(gpu_slot: Any) -> None:
    """``gpu_study`` looks at the runs, not at processes alone, of which a dead one is none."""
    study = importlib.import_module("gpu_study")
    stay = study.Stay.__new__(study.Stay)
    for finished, measurable, measures, lacks in (
        (True, False, True, False),
        (False, False, True, True),
        (True, True, True, True),
        (True, True, False, False),
    ):
        stay.measures, stay.runs = measures, [SimpleNamespace(finished=finished, measurable=measurable)]
        assert stay.lacks() is lacks


def test_a_study_that_could_only_be_begun_is_not(tmp_path: Path, gpu_slot: Any) -> None:
    """What is left when the one before it ends early is less than importing takes."""
    stay = gpu_slot.Slot(12.0, tmp_path, tmp_path / "runs", "cpu", True)
    gpu_slot._study(stay, "main")
    assert stay.stages == {"study main": {"status": "no time left"}}


def test_data_sets_of_studies_are_decoded_once_from_a_folder_that_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: Any
) -> None:
    """Parquet alone is carried. A set that is not there, or a study that cannot be read, leaves the others decoded."""
    folder = tmp_path / "data/cifar10"
    write_parquet(folder / "train.parquet", random_split(1, 20, 32, 10), list("abcdefghij"))
    write_parquet(folder / "test.parquet", random_split(2, 10, 32, 10), list("abcdefghij"))
    before = sorted((tmp_path / "data").rglob("*"))
    for path in (folder, tmp_path / "data"):
        path.chmod(0o555)
    monkeypatch.setenv("RETCONV_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RETCONV_CACHE", str(tmp_path / "cache"))
    studies = ["short", "main", "tiny_imagenet", "shrot"]
    code, found, said = ran("scripts/gpu_data.py", *studies)
    assert code == 1, said
    assert set(found["decoded"]) == {"cifar10"}
    assert found["decoded"]["cifar10"]["source"].startswith("parquet, sha256 ")
    assert "warnings" not in found["decoded"]["cifar10"]
    assert set(found["faults"]) == {"tiny-imagenet-32", "shrot"}
    assert "downloads are off" in found["faults"]["tiny-imagenet-32"]
    assert [path.suffix for path in Path(found["cache"]).iterdir()] == [".npz"]
    assert sorted((tmp_path / "data").rglob("*")) == before


def test_a_cache_that_cannot_be_kept_is_told_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: Any
) -> None:
    write_parquet(tmp_path / "data/cifar10/train.parquet", random_split(1, 20, 32, 10), list("abcdefghij"))
    write_parquet(tmp_path / "data/cifar10/test.parquet", random_split(2, 10, 32, 10), list("abcdefghij"))
    (tmp_path / "cache").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("RETCONV_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RETCONV_CACHE", str(tmp_path / "cache"))
    code, found, said = ran("scripts/gpu_data.py", "short")
    assert code == 0, said
    (warning,) = found["decoded"]["cifar10"]["warnings"]
    assert "set RETCONV_CACHE to a folder with room" in warning


@pytest.mark.parametrize("wrong", ["--skip=nothing", "--budget=soon"])
def test_what_a_slot_cannot_use_is_refused(tmp_path: Path, wrong: str) -> None:
    done = subprocess.run([sys.executable, *slot(tmp_path), wrong], capture_output=True, text=True)
    assert done.returncode == 2
    assert "choose from" in done.stderr or "invalid float" in done.stderr
