"""Train a study on one GPU for a short stay: units get ready side by side, train one at a time, are measured apart.

To compile a step takes the better part of a minute of one core, and to measure a run is many small launches: neither
should hold the device up. So the next units compile while one trains, and stand still from their first epoch's end on
until it is their turn; and each run is measured in a process of its own while the next unit trains. When time is up, or
at SIGTERM, units save a checkpoint; the same command goes on with them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from gpu_process import end_with_parent

from retconv.data import load
from retconv.measure import measured
from retconv.results import pack
from retconv.sweep import load_study
from retconv.train import Budget, Config, RunFolder, train

#: Seconds between two looks at what goes on.
LOOK = 0.1
#: Seconds that units have to save a checkpoint.
GRACE = 5.0
LIMIT_MIB, ARCHIVES = 15, 1
SPAWN = get_context("spawn")


def _train(configs: list[Config], root: Path, device: str) -> None:
    end_with_parent()
    torch.set_num_threads(2)
    budget = Budget()
    with budget.heeding_signals():
        train(configs, root, device=device, budget=budget, checkpoint_seconds=math.inf, progress=False)


def _measure(config: Config, root: Path, device: str) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    measured(RunFolder(root, config), load(config.data.name).to(device))


@dataclass
class Unit:
    """Runs of one stack, in a process that can be held."""

    configs: list[Config]
    root: Path
    process: BaseProcess
    held: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        """Whether all that it compiles is compiled: an epoch is over."""
        return bool(RunFolder(self.root, self.configs[0]).metrics())

    def hold(self, held: bool) -> None:
        """Stop it where it stands, or let it go on."""
        if held != self.held and self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGSTOP if held else signal.SIGCONT)
            self.held = held


class Stay:
    """What is waiting, trains and is measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        study = load_study(args.study)
        self.root, self.out, self.device = args.root, args.out, args.device
        self.ahead, self.measurers = args.ahead, args.measurers
        self.packed = self.ended()
        self.measures = bool(study.mask_tables)
        runs = [[RunFolder(self.root, config) for config in unit] for unit in study.units()]
        self.runs = [run for unit in runs for run in unit]
        self.waiting = [[run.config for run in unit if not run.finished] for unit in runs]
        self.waiting = [unit for unit in self.waiting if unit]
        self.unmeasured = [run.config for unit in runs for run in unit if self.measures and run.measurable]
        for name in {config.data.name for unit in self.waiting for config in unit}:
            load(name)  # decoded once, not by each process
        self.training: list[Unit] = []
        self.measuring: list[BaseProcess] = []

    def look(self) -> bool:
        """Do what is to be done now; whether anything is left."""
        for unit in [unit for unit in self.training if not unit.process.is_alive()]:
            self.training.remove(unit)
            finished = [config for config in unit.configs if RunFolder(self.root, config).finished]
            spent = time.monotonic() - unit.began
            counts = f"{len(finished)} of {len(unit.configs)} trained"
            print(f"{time.monotonic() - BEGAN:6.1f} s  {counts}, begun {spent:.1f} s ago", flush=True)
            self.unmeasured += finished if self.measures else []
        while self.waiting and len(self.training) < self.ahead:
            configs = self.waiting.pop(0)
            self.training.append(Unit(configs, self.root, self._started(_train, configs)))
        for position, unit in enumerate(self.training):
            unit.hold(position > 0 and unit.ready)
        self.measuring = [process for process in self.measuring if process.is_alive()]
        while self.unmeasured and len(self.measuring) < self.measurers:
            self.measuring.append(self._started(_measure, self.unmeasured.pop(0)))
        if self.out is not None and (ended := self.ended()) != self.packed:
            self.packed = ended
            pack(self.root, self.out, LIMIT_MIB << 20, most=ARCHIVES, replace=True)
        return bool(self.training or self.measuring or self.unmeasured)

    def lacks(self) -> bool:
        """Whether a run is unfinished or unmeasured, as one whose process has crashed."""
        return any(not run.finished or (self.measures and run.measurable) for run in self.runs)

    def ended(self) -> dict[str, int]:
        """How many runs of the folder are finished, and how many measured."""
        return {
            "finished": sum(1 for _ in self.root.glob("*/result.json")),
            "measured": sum(1 for _ in self.root.glob("*/measures.json")),
        }

    def _started(self, work: object, argument: object) -> BaseProcess:
        process = SPAWN.Process(target=work, args=(argument, self.root, self.device), daemon=True)  # type: ignore[arg-type]
        process.start()
        return process

    def end(self) -> None:
        """Let units save a checkpoint, and kill what still goes on."""
        for unit in self.training:
            unit.process.terminate()
            unit.hold(False)
        latest = time.monotonic() + GRACE
        for unit in self.training:
            unit.process.join(max(0.0, latest - time.monotonic()))
        for process in [*(unit.process for unit in self.training), *self.measuring]:
            process.kill()


BEGAN = time.monotonic()


def main() -> None:
    """Go on until all is done or time is up; exit code 3 if something is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="by name or YAML file")
    parser.add_argument("--root", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--out", type=Path, help="folder of archives, packed anew whenever a run has ended")
    parser.add_argument("--budget", type=float, required=True, help="seconds, starting now")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ahead", type=int, default=3, help="units that train or get ready (%(default)s)")
    parser.add_argument("--measurers", type=int, default=6, help="runs measured at a time (%(default)s)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(3))
    stay = Stay(args)
    left = True
    try:
        while time.monotonic() - BEGAN < args.budget - GRACE and left:
            left = stay.look()
            time.sleep(LOOK)
    finally:
        stay.end()
    print(json.dumps(stay.ended()))
    sys.exit(3 if left or stay.lacks() else 0)


if __name__ == "__main__":
    main()
