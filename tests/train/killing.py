"""Training killed at random instants and resumed, and whether two runs are the same bit for bit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from tqdm import tqdm

from retconv.bench.timing import ready_made
from retconv.train import Config, RunFolder, train


def killed_and_resumed(config: Config, kills: int, seed: int, folder: Path) -> Iterator[tuple[RunFolder, RunFolder]]:
    """Trains once undisturbed, then again and again: killed at a random instant of that time, and resumed.

    Yields:
        The resumed run and the undisturbed one.
    """
    context = ready_made("retconv.train.run", "sklearn.datasets")

    def start(root: Path) -> BaseProcess:
        process = context.Process(target=_train, args=(config, root, torch.get_num_threads()))
        process.start()
        return process

    def finish(root: Path) -> RunFolder:
        process = start(root)
        process.join()
        assert process.exitcode == 0
        return RunFolder(root, config)

    finish(folder / "warm-up")
    begin = time.perf_counter()
    whole = finish(folder / "undisturbed")
    duration = time.perf_counter() - begin
    instants = random.Random(seed)
    for i in range(kills):
        root = folder / f"killed-{i}"
        process = start(root)
        process.join(instants.uniform(0, duration))
        process.kill()
        process.join()
        yield finish(root), whole


def _train(config: Config, root: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    # tqdm's own lock is a semaphore of the system, which a killed process leaves behind.
    tqdm.set_lock(threading.RLock())
    # Checkpoints so often that kills fall into their writing too.
    train(config, root, device="cpu", checkpoint_every=2, progress=False)


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
