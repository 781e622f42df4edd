"""Running a study: what is to be done is mapped over the engine, round after round, until nothing is or time is up."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from retconv.data import load
from retconv.measure import measured
from retconv.results import Store
from retconv.sweep.engines import started
from retconv.sweep.study import Study
from retconv.train import Budget, Config, RunFolder, TrainError, train

#: Seconds that workers need to start, each of which imports torch.
_WORKERS = 10.0
#: Measuring a run takes at most so many seconds, and this share of what its training took.
_MEASURING, _MEASURING_SHARE = 5.0, 0.35


@dataclass(frozen=True)
class Outcome:
    """How a study ended.

    Attributes:
        finished: Names of its runs that are finished, and measured where the study asks for it.
        failures: What went wrong, by the name of each run that failed.
        left: Names of the runs that there was no time for; those that were begun go on from a checkpoint.
        rounds: How often the engine was started.
    """

    finished: tuple[str, ...]
    failures: dict[str, str]
    left: tuple[str, ...]
    rounds: int


class UnitOutcome(NamedTuple):
    """How one run or stack of replicas ended: the names of its runs, what went wrong if anything did, who is left."""

    names: tuple[str, ...]
    fault: str = ""
    left: tuple[str, ...] = ()


def sweep(
    study: Study, root: str | Path, report: Callable[[str], object] | None = None, budget: Budget | None = None
) -> Outcome:
    """Train the missing runs of a study, in the order that its ``priority`` says, and measure each at its end.

    Measured are the runs of a study with ``mask_tables`` (see ``retconv.measure``), also such as finished earlier, as
    long as their weights are there.

    A worker that dies takes no finished run with it: what is missing is started again, from its last checkpoint, until
    ``retries`` rounds in a row have finished nothing new.

    Args:
        study: The study.
        root: Folder of its runs.
        report: Is given a line for each event.
        budget: When to stop, for all workers together.
    """
    tell = report or (lambda line: None)
    failures: dict[str, str] = {}
    left: set[str] = set()
    rounds = idle = 0
    stacked = True
    budget = budget or Budget()
    missing = to_do(study, root)
    work = partial(
        train_unit,
        root=Path(root),
        threads=study.threads,
        gpus=bool(study.gpus),
        measuring=bool(study.mask_tables),
        budget=budget,
    )
    begins = 0.0 if study.serial else _WORKERS
    with started(study, Path(root)) if missing else nullcontext(map) as over:
        while missing and idle <= study.retries and budget.left() > begins and not left:
            rounds += 1
            ids = {config.id for config in missing}
            units = [[c for c in unit if c.id in ids] for unit in study.units()]
            # What failed as a stack is tried run by run: one that diverges must not hold the others up.
            units = [part for unit in units if unit for part in ([unit] if stacked else [[c] for c in unit])]
            try:
                for names, fault, late in over(work, list(enumerate(units))):
                    failures |= dict.fromkeys(names, fault)
                    left |= set(late)
                    stacked &= not fault
                    if finished := [name for name in names if name not in late]:
                        tell(fault or f"finished {', '.join(finished)}")
            except Exception as error:  # each engine has exceptions of its own for a worker that died
                if budget.left() > 0:  # otherwise a signal may have ended workers that had nothing to save
                    tell(f"a worker died ({type(error).__name__}): starting what is missing again")
                    failures |= dict.fromkeys(ids, f"its worker died: {error}")
            before, missing = len(missing), to_do(study, root)
            idle = 0 if len(missing) < before else idle + 1
    unfinished = [config.id for config in missing]
    return Outcome(
        finished=tuple(config.id for config in study.configs if config.id not in unfinished),
        failures={name: failures[name] for name in unfinished if failures.get(name)},
        left=tuple(name for name in unfinished if not failures.get(name)),
        rounds=rounds,
    )


def to_do(study: Study, root: str | Path) -> list[Config]:
    """The runs that are not finished, or not measured though the study asks for it; each once, in their order."""
    unfinished = {config.id for config in Store(root).missing(study.configs)}
    unmeasured = {c.id for c in study.configs if study.mask_tables and RunFolder(root, c).measurable}
    return list({c.id: c for c in study.configs if c.id in unfinished | unmeasured}.values())


def train_unit(
    unit: tuple[int, list[Config]],
    root: Path,
    threads: int,
    gpus: bool,
    measuring: bool = False,
    budget: Budget | None = None,
) -> UnitOutcome:
    """Train one run or stack of replicas in a worker, and measure each if wanted and there is time."""
    index, configs = unit
    torch.set_num_threads(threads)
    count = torch.cuda.device_count()
    device = f"cuda:{index % count}" if gpus and count else "cpu" if not count else None
    names = tuple(config.id for config in configs)
    budget = budget or Budget()
    try:
        with budget.heeding_signals():
            runs = train(configs, root, device=device, budget=budget, progress=False)
            left = [run.path.name for run in runs if not run.finished]
            for run in runs if measuring else ():
                if run.measurable and _time_to_measure(run, budget):
                    measured(run, lambda name: load(name).to(device or "cuda"))
                elif run.measurable:
                    left.append(run.path.name)
    # Whatever it is, such as memory that a stack does not fit: the other runs of the study must not fall with it.
    except Exception as error:
        known = isinstance(error, (TrainError, ValueError, OSError))
        fault = str(error) if known else f"{type(error).__name__}: {error}"
    else:
        return UnitOutcome(names, left=tuple(left))
    gc.collect()  # what failed refers to itself, and would hold the device's memory while the next one starts
    return UnitOutcome(names, f"{', '.join(names)}: {fault}")


def _time_to_measure(run: RunFolder, budget: Budget) -> bool:
    return budget.left() > _MEASURING + _MEASURING_SHARE * sum(epoch["seconds"] for epoch in run.metrics())
