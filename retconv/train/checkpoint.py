"""Checkpoints of one run, also of one that trains among replicas: whole or not at all, the last two kept.

A checkpoint holds one replica's share of everything that the next step depends on. So a run can be resumed by itself or
in other company than it was saved in. Of the two that are kept, the older one lets replicas that were killed between
the saving of one and of the next start from a step that all of them have.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from retconv.train.config import as_now, differences
from retconv.train.files import TrainError, in_memory, write_whole

#: How many are kept.
KEPT = 2
#: Between two.
SECONDS = 60.0


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step stands in a run's folder."""
    return folder / f"checkpoint-{step:09d}.pt"


def saved_steps(folder: Path) -> list[int]:
    """Steps of which a run's folder holds a checkpoint, in order."""
    names = (re.fullmatch(r"checkpoint-(\d+)\.pt", path.name) for path in folder.glob("checkpoint-*.pt"))
    return sorted(int(match[1]) for match in names if match)


def save(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step.

    Raises:
        TrainError: If the disk is full; earlier checkpoints are untouched.
    """
    write_whole(path_of(folder, step), in_memory(lambda file: torch.save(dict(state), file)))


def prune(folder: Path, keep: int = KEPT) -> None:
    """Remove all but the newest checkpoints."""
    for step in saved_steps(folder)[: -keep or None]:
        path_of(folder, step).unlink()


def load(folder: Path, step: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the checkpoint of a step: tensors and plain values only, on the CPU.

    Args:
        folder: The run's folder.
        step: Of ``saved_steps``.
        config: That the run to be resumed has.

    Raises:
        TrainError: If the file is damaged, or was saved under another configuration.
    """
    path = path_of(folder, step)
    state: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            fault = archive.testzip()  # the first member whose checksum is wrong
        if fault is None:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a bit that has turned makes parsers raise anything
        fault = str(error)
    if fault is not None:
        earlier = [s for s in saved_steps(folder) if s < step]
        resume = f"resume from step {earlier[-1]}" if earlier else "start anew"
        raise TrainError(f"{path} is truncated or damaged ({fault}): remove it to {resume}")
    if as_now(state["config"]) != config:
        raise TrainError(
            f"{path} was saved by another recipe (checkpoint against now):\n"
            + "\n".join(f"  {line}" for line in differences(as_now(state["config"]), config))
            + "\nUse the recipe that it was saved by, or another --root"
        )
    return state


def common_step(folders: Iterable[Path]) -> int | None:
    """The newest step of which every folder has a checkpoint; 0 if none has any, None if they share none."""
    steps = [set(saved_steps(folder)) for folder in folders]
    if not any(steps):
        return 0
    shared = set.intersection(*steps)
    return max(shared) if shared else None
