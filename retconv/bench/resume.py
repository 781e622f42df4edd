"""``retconv bench resume``: training killed at random instants and resumed ends in the same bits."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import click
import pandas as pd
import torch
from tqdm import tqdm

from retconv.bench.timing import ready_made
from retconv.train import Config, RunFolder, load, train

#: Checkpoints are written this often, so that kills fall into their writing too.
EVERY = 2


def demonstration() -> Config:
    """A short smoke run with all that draws or keeps numbers: mixing, drop path, moving average, best."""
    settings = ("schedule.epochs=3", "augment.mixup=0.8", "augment.cutmix=1.0", "augment.repeats=2", "ema=0.9")
    config = load("smoke", [*settings, "select=best", "model.options.drop_path_rate=0.1"])
    return replace(config, batch_size=256)


@dataclass(frozen=True)
class Trial:
    """One kill.

    Attributes:
        after: Seconds from the start of training until SIGKILL.
        resumed_from: The step of the checkpoint that training went on from, or ``finished``.
        weights: Whether all tested weights are bit for bit those of the undisturbed run.
        metrics: Whether all epochs' numbers and the test result are, times apart.
    """

    after: float
    resumed_from: int | str
    weights: bool
    metrics: bool


def bench(kills: int, seed: int) -> pd.DataFrame:
    """Kill and resume a short smoke run.

    Args:
        kills: How often.
        seed: Of the instants.

    Returns:
        The fields of ``Trial`` in a row for each, with ``kind``.
    """
    with tempfile.TemporaryDirectory() as folder:
        runs = trials(demonstration(), kills, seed, Path(folder))
        table = pd.DataFrame(list(tqdm(runs, "bench resume", kills, leave=False, disable=None)))
    table.insert(0, "kind", "killed, then resumed")
    return table


def trials(config: Config, kills: int, seed: int, folder: Path) -> Iterator[Trial]:
    """Train once undisturbed, then again and again: killed at a random instant of that time, and resumed.

    Args:
        config: What to train.
        kills: How often.
        seed: Of the instants.
        folder: For the runs.
    """
    context = ready_made("retconv.train.run", "sklearn.datasets")
    threads = torch.get_num_threads()

    def start(root: Path) -> BaseProcess:
        process = context.Process(target=_train, args=(config, root, threads))
        process.start()
        return process

    def finish(root: Path) -> RunFolder:
        process = start(root)
        process.join()
        if process.exitcode:
            raise click.ClickException(f"training in {root} ended with exit code {process.exitcode}")
        return RunFolder(root, config)

    finish(folder / "warm-up")
    begin = time.perf_counter()
    whole = finish(folder / "undisturbed")
    duration = time.perf_counter() - begin
    instants = random.Random(seed)
    for i in range(kills):
        root = folder / f"killed-{i}"
        process = start(root)
        after = instants.uniform(0, duration)
        process.join(after)
        process.kill()
        process.join()
        run = finish(root)
        sessions = run.provenance()
        origin = sessions[-1]["from_step"] if process.exitcode else "finished"
        yield Trial(after, origin, same_weights(run, whole), same_numbers(run, whole))


def _train(config: Config, root: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    # tqdm's own lock is a semaphore of the system, which a killed process leaves behind.
    tqdm.set_lock(threading.RLock())
    train(config, root, device="cpu", checkpoint_every=EVERY, progress=False)


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    """Whether two runs tested the same weights, bit for bit."""
    a, b = one.weights(), other.weights()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_numbers(one: RunFolder, other: RunFolder) -> bool:
    """Whether two runs have the same test result and the same numbers in every epoch, times apart."""
    tables = [
        [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in run.metrics()]
        for run in (one, other)
    ]
    return tables[0] == tables[1] and one.result() == other.result()
