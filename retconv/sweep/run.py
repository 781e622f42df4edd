"""Running a study: what is missing is mapped over the engine, round after round, until nothing is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from retconv.results import Store
from retconv.sweep.engines import started
from retconv.sweep.study import Study
from retconv.train import Config, TrainError, train


@dataclass(frozen=True)
class Outcome:
    """How a study ended.

    Attributes:
        finished: Names of its finished runs.
        failures: What went wrong, by the name of each run that is not finished.
        rounds: How often the engine was started.
    """

    finished: tuple[str, ...]
    failures: dict[str, str]
    rounds: int


def sweep(study: Study, root: str | Path, report: Callable[[str], object] | None = None) -> Outcome:
    """Train the missing runs of a study.

    A worker that dies takes no finished run with it: what is missing is started again, from its last checkpoint, until
    ``retries`` rounds in a row have finished nothing new.

    Args:
        study: The study.
        root: Folder of its runs.
        report: Is given a line for each event.
    """
    store, tell = Store(root), report or (lambda line: None)
    failures: dict[str, str] = {}
    rounds = idle = 0
    stacked = study.replicas
    work = partial(train_unit, root=Path(root), threads=study.threads, gpus=bool(study.gpus))
    missing = store.missing(study.configs)
    with started(study, Path(root)) if missing else nullcontext(map) as over:
        while missing and idle <= study.retries:
            rounds += 1
            wanted = {config.id for config in missing}
            units = [[c for c in unit if c.id in wanted] for unit in study.units()]
            # What failed as a stack is tried run by run: one that diverges must not hold the others up.
            units = [part for unit in units if unit for part in ([unit] if stacked else [[c] for c in unit])]
            try:
                for names, fault in over(work, list(enumerate(units))):
                    failures |= dict.fromkeys(names, fault)
                    stacked &= not fault
                    tell(fault or f"finished {', '.join(names)}")
            except Exception as error:  # each engine has exceptions of its own for a worker that died
                tell(f"a worker died ({type(error).__name__}): starting what is missing again")
                failures |= dict.fromkeys(wanted, f"its worker died: {error}")
            before, missing = len(missing), store.missing(study.configs)
            idle = 0 if len(missing) < before else idle + 1
    unfinished = {config.id for config in missing}
    return Outcome(
        tuple(config.id for config in study.configs if config.id not in unfinished),
        {run: failures.get(run, "never started") for run in unfinished},
        rounds,
    )


def train_unit(unit: tuple[int, list[Config]], root: Path, threads: int, gpus: bool) -> tuple[tuple[str, ...], str]:
    """Train one run or stack of replicas in a worker.

    Returns:
        The runs' names, and what went wrong, empty if nothing did.
    """
    index, configs = unit
    torch.set_num_threads(threads)
    count = torch.cuda.device_count()
    device = f"cuda:{index % count}" if gpus and count else "cpu" if not count else None
    names = tuple(config.id for config in configs)
    try:
        train(configs, root, device=device, progress=False)
    except (TrainError, ValueError, OSError) as error:
        return names, f"{', '.join(names)}: {error}"
    return names, ""
