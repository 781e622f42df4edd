"""A short stay on a GPU, rehearsed on the CPU: ended in time, and killed in the middle of a study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import yaml
from training import BASE

from retconv.results import Store, merge

TREE = Path(__file__).parents[1]
STAGES = ("facts", "smoke", "tests", "bench attention", "bench retention", "bench operator", "bench train")


def slot(folder: Path, *skip: str) -> list[str]:
    """The command, with a study of two runs: one of a moment, one that takes long enough to be killed."""
    model = {"name": "retconv_vit_tiny", "options": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}}
    base = BASE | {"data": {"name": "digits", "validation": 0.8}, "model": model}
    (folder / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    arms = {"short": {"schedule.epochs": 2}, "long": {"schedule.epochs": 240}}
    (folder / "two.yaml").write_text(yaml.safe_dump({"recipe": "base.yaml", "arms": arms}), encoding="utf-8")
    command = [sys.executable, str(TREE / "scripts/gpu_slot"), "--toy", "--device", "cpu", "--budget", "600"]
    command += ["--out", str(folder / "out"), "--root", str(folder / "runs"), "--study", str(folder / "two.yaml")]
    return command + [word for stage in skip for word in ("--skip", stage)]


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out/summary.json").read_text(encoding="utf-8"))["stages"]


def finished(root: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in root.glob("*/result.json")}


def taken_home(folder: Path) -> list[Path]:
    return [path for path in (folder / "out").rglob("*") if path.is_file()]


def test_a_slot_runs_its_stages_and_a_kill_loses_no_finished_run(tmp_path: Path) -> None:
    """Killed once a run is finished and packed; the next slot goes on, and its archives hold both runs."""
    environment = os.environ | {"RETCONV_COMMIT": "planted", "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(slot(tmp_path, *STAGES[3:5], STAGES[6]), env=environment, stdout=subprocess.DEVNULL)
    archives = tmp_path / "out/archives"
    while first.poll() is None and not any(archives.glob("*.zip")):
        time.sleep(0.05)
    first.kill()
    first.wait()
    before, stages = finished(tmp_path / "runs"), summary(tmp_path)
    log = (tmp_path / "out/slot.log").read_text(encoding="utf-8")
    assert {stages[name]["status"] for name in (*STAGES[:3], STAGES[5])} == {"done"}, log
    assert stages["facts"]["found"]["float32_tflops"] > 0
    assert stages["smoke"]["found"]["faults"] == {}
    assert stages[f"study {tmp_path / 'two.yaml'}"]["status"] == "running"
    packed = merged(archives, tmp_path / "home")
    assert packed
    assert packed.items() <= before.items()

    done = subprocess.run(slot(tmp_path, *STAGES), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [facts["status"] for facts in summary(tmp_path).values()] == ["skipped"] * 7 + ["done"] * 2
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


def test_a_stage_that_fails_or_overruns_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is deaf to a request to stop is killed with what it started; a limit never exceeds what is left."""
    loader = SourceFileLoader("gpu_slot", str(TREE / "scripts/gpu_slot"))
    gpu_slot = module_from_spec(spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, loader.name, gpu_slot)
    loader.exec_module(gpu_slot)
    monkeypatch.setattr(gpu_slot, "GRACE", 0.5)
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
    assert len(log) < 2 * gpu_slot.KEPT


@pytest.mark.parametrize("wrong", ["--skip=nothing", "--budget=soon"])
def test_what_a_slot_cannot_use_is_refused(tmp_path: Path, wrong: str) -> None:
    done = subprocess.run([*slot(tmp_path), wrong], capture_output=True, text=True)
    assert done.returncode == 2
    assert "choose from" in done.stderr or "invalid float" in done.stderr
