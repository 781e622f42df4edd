"""Contenders that get ready in processes of their own: what is timed, what is left out, and the tables made of it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from retconv.bench.__main__ import main
from retconv.bench.steps import _ratio
from retconv.bench.turns import LEAST, TURN, WARM, Outcome, race_ready

CPU = torch.device("cpu")


class Mortal:
    """Lives through getting ready and the first turn, which are few calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls > WARM + LEAST:
            os._exit(1)
        time.sleep(TURN)


class Sleeper:
    """Takes a while to make, and a while to run."""

    def __init__(self, seconds: float, making: float = 0.0, fault: str = "", made: Path | None = None) -> None:
        if fault == "dies":
            os._exit(1)
        if fault:
            raise ValueError(f"{fault}\nand more")
        time.sleep(making)
        self.seconds = seconds
        if made is not None:
            made.write_bytes(b"")  # waits for who reads it

    def runs(self) -> Mapping[str, Callable[[], object]]:
        if self.seconds < 0:
            return {"once": Mortal()} if self.seconds == -1 else {}
        return {"once": partial(time.sleep, self.seconds), "twice": partial(time.sleep, 2 * self.seconds)}

    def facts(self) -> Mapping[str, Any]:
        return {"process": os.getpid(), "may not use a GPU": torch.cuda._is_in_bad_fork()}


def test_each_is_timed_in_turn_and_a_fault_stops_no_other() -> None:
    contenders = {
        "short": partial(Sleeper, 0.005),
        "long": partial(Sleeper, 0.02),
        "broken": partial(Sleeper, 0.0, fault="no"),
        "dead": partial(Sleeper, 0.0, fault="dies"),
    }
    outcomes = race_ready(contenders, 2, CPU, limit=300.0)
    for name, least in (("short", 0.005), ("long", 0.02)):
        seconds = outcomes[name].seconds
        assert len(seconds["once"]) == 2
        assert min(seconds["once"]) >= least
        assert min(seconds["twice"]) >= 2 * least
    assert outcomes["short"].facts["process"] != outcomes["long"].facts["process"] != os.getpid()
    assert not outcomes["short"].facts["may not use a GPU"]
    assert outcomes["broken"].fault == "ValueError: no"
    assert outcomes["dead"].fault == "its process ended"
    assert not any(outcomes[name].seconds for name in ("broken", "dead"))


def test_who_dies_while_timed_says_so_and_takes_no_other_along() -> None:
    seconds = {"mortal": -1.0, "empty": -2.0, "other": 0.01}
    outcomes = race_ready({name: partial(Sleeper, s) for name, s in seconds.items()}, 3, CPU, limit=300.0)
    assert outcomes["empty"].fault is None
    assert outcomes["mortal"].fault == "its process ended"
    assert outcomes["other"].fault is None
    assert len(outcomes["mortal"].seconds.get("once", [])) < 3 == len(outcomes["other"].seconds["once"])
    steps = (Outcome(seconds={"step": [2.0, 4.0]}), Outcome(seconds={"step": [1.0, 2.0, 9.0]}))
    assert _ratio(*steps) == 2.0


def test_who_is_not_ready_in_time_is_left_out() -> None:
    late = race_ready({"late": partial(Sleeper, 0.0, making=300.0)}, 2, CPU, limit=1.0)["late"]
    assert late.fault == "not ready after 1 s"
    assert not late.seconds


def test_nothing_is_timed_while_another_holds_the_lock(tmp_path: Path) -> None:
    """Until that one lets go, a while after the contender has been made."""
    lock, made, freed = tmp_path / "lock", tmp_path / "made", []
    os.mkfifo(made)
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)

        def free() -> None:
            made.read_bytes()
            time.sleep(0.5)
            freed.append(True)
            fcntl.flock(file, fcntl.LOCK_UN)

        Thread(target=free, daemon=True).start()
        found = race_ready({"one": partial(Sleeper, 0.001, made=made)}, 1, CPU, limit=300.0, lock=lock)
    assert freed
    assert found["one"].seconds


def test_table_of_steps_has_ratios_to_plain_and_to_one_replica(tmp_path: Path) -> None:
    out = tmp_path / "steps.csv"
    settings = "steps --batch 2 --stack 1/eager --stack 2/eager --mask none --mask gmm --rounds 1 --device cpu --out"
    result = CliRunner().invoke(main, [*settings.split(), str(out)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert list(table["kind"]) == ["none", "none", "gmm", "gmm"]
    ms = table["ms"]
    assert list(table["plain"]) == pytest.approx([1, 1, ms[2] / ms[0], ms[3] / ms[1]])
    assert list(table["alone"]) == pytest.approx([1, ms[1] / ms[0], 1, ms[3] / ms[2]])
    assert list(table["images_per_second"]) == pytest.approx(list(2e3 * table["replicas"] / ms))
    assert {"commit", "device", "tflops", "fault"} <= {*table.columns}


def test_table_of_fused_attention_names_what_is_not_there(tmp_path: Path) -> None:
    out = tmp_path / "fused.csv"
    settings = "fused --grid 3x5 --dim 16 --width 32 --tokens 64 --dtype float32 --device cpu --rounds 1 --out"
    forms = ["--form", "reference", "--form", "auto", "--form", "flex"]
    result = CliRunner().invoke(main, [*settings.split(), str(out), *forms])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out).set_index(["placement", "kind", "form"]).sort_index()
    ours = table.loc[(["multiply_logits", "bias_logits"], ["forward", "both"], ["reference", "auto"]), :]
    assert (ours["error"] < 1e-6).all()
    assert (ours["us"] > 0).all()
    flex = table.xs("flex", level="form")
    assert flex["us"].isna().all()
    assert flex["fault"].str.contains("'flex' does not apply: FlexAttention has no backward pass on a CPU").all()
