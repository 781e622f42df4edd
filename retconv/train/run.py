"""Training runs to their end, from wherever they are, each in its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import distributed

from retconv.ambient import host, single
from retconv.data import Dataset, load
from retconv.train import checkpoint
from retconv.train.budget import Budget, Pace
from retconv.train.build import compiles_on
from retconv.train.config import Config, differences
from retconv.train.files import TrainError
from retconv.train.folder import RunFolder
from retconv.train.session import Session, any_process
from retconv.train.trainer import Trainer


@host()
@single()
def train(
    configs: Config | Sequence[Config],
    root: str | Path = "runs",
    *,
    device: torch.device | str | None = None,
    data: Dataset | None = None,
    budget: Budget | None = None,
    checkpoint_seconds: float = checkpoint.SECONDS,
    checkpoint_every: int | None = None,
    progress: bool = True,
    tensorboard: bool = False,
    on_step: Callable[[Trainer], object] | None = None,
) -> list[RunFolder]:
    """Train runs to their end, or until a budget is spent; what is finished is not repeated, the rest goes on.

    Several configurations train as replicas: one stacked model (see ``Replicas``). They must be equal but for the seed
    and the model's options, and their models must share one functional form. Each run's numbers are its own, and are
    stored as if it had trained alone.

    Args:
        configs: One, or several to be trained as replicas.
        root: Folder of all runs.
        device: Such as ``"cuda"``; a CUDA device by default where there is one.
        data: The data set; by default the one that the configuration names is loaded.
        budget: When to stop: before it is spent, at a checkpoint, and with runs that are not ``finished``. What could
            not reach its first checkpoint in time is not begun.
        checkpoint_seconds: Seconds between checkpoints; there is one after the last step besides.
        checkpoint_every: Also save after every so many steps.
        progress: Show a bar.
        tensorboard: Also write the numbers for TensorBoard, into each run's folder.
        on_step: Called after every step.

    Returns:
        The runs' folders, in the order of ``configs``.

    Raises:
        ValueError: If the configurations cannot be replicas of one another, the device cannot be used, or images and
            labels of ``data`` do not belong together.
        TrainError: If training cannot go on: a full disk, a damaged checkpoint, a loss that is not finite, a run that
            another process trains, or a run that is there was trained on other data than those given.
    """
    configs = [configs] if isinstance(configs, Config) else list(configs)
    _require_replicas(configs)
    folders = [RunFolder(root, config) for config in configs]
    if data is not None:
        _require_usable(data, [f for f in folders if f.finished])
    todo = list({f.path: f for f in folders if not f.finished}.values())
    if not todo:
        return folders
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    budget = budget or Budget()
    device = _device(device)
    if _too_late(budget, configs[0], device):
        return folders
    data = (load(configs[0].data.name) if data is None else data).to(device)
    with ExitStack() as claims:
        if rank == 0:
            for folder in todo:
                claims.enter_context(folder.claimed())
        _wait_for_all()
        todo = [f for f in todo if not f.finished]  # another process may have, before it was claimed
        for group in _groups(todo) if todo else ():
            if _too_late(budget, configs[0], device):
                break
            # A session seeds torch's generator, which is the caller's.
            with torch.random.fork_rng(devices=[]):
                session = Session(group, data, rank, budget, tensorboard)
                session.run(checkpoint_seconds, checkpoint_every, progress and rank == 0, on_step)
    _wait_for_all()
    return folders


def _require_usable(data: Dataset, finished: Sequence[RunFolder]) -> None:
    """Data of one's own, whose images and labels belong together, and of which finished runs are."""
    classes = len(data.classes)
    for part in ("train", "test"):
        images, labels = getattr(data, f"{part}_images"), getattr(data, f"{part}_labels")
        shape = len(labels), 3, data.size, data.size
        if images.dtype != torch.uint8 or tuple(images.shape) != shape or not len(labels):
            raise ValueError(
                f"{part}_images must be uint8 {shape} for these labels, and at least one, got {images.dtype} of shape "
                f"{tuple(images.shape)}"
            )
        low, high = (int(end) for end in labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"{part}_labels must lie in 0 … {classes - 1} for {classes} classes, got {low} … {high}: number them so"
            )
    checksum = data.checksum("train", "test") if finished else 0
    for folder in finished:
        if folder.result().get("checksum", checksum) != checksum:  # earlier results do not say
            raise TrainError(
                f"{folder.path} was trained on other images or labels than these, of {data.source}: give another "
                "folder of runs"
            )


def _too_late(budget: Budget, config: Config, device: torch.device) -> bool:
    """Whether what starts now could not save its first step in time."""
    return any_process(budget.left() < Pace.starting(compiles_on(device, config.compile)), device)


def _wait_for_all() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def _device(device: torch.device | str | None) -> torch.device:
    """The device asked for, or this process's own GPU, or the CPU."""
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"device {str(device)!r} cannot be used here ({reason}): choose cpu, or leave it out"
        ) from error
    return device


def _require_replicas(configs: Sequence[Config]) -> None:
    if not configs:
        raise ValueError("there is nothing to train: give at least one configuration")
    one = configs[0].as_dict()
    for config in configs[1:]:
        lines = differences(one, config.as_dict())
        wrong = [line for line in lines if not line.startswith(("seed:", "model.options"))]
        if wrong:
            raise ValueError(
                "replicas may differ in seed and model.options only, but here in "
                + "; ".join(wrong)
                + ": train them one after the other"
            )


def _groups(folders: list[RunFolder]) -> list[list[RunFolder]]:
    """All together if they share a step to start from; else those together whose newest checkpoints agree."""
    if checkpoint.common_step(f.path for f in folders) is not None:
        return [folders]
    groups: dict[int, list[RunFolder]] = {}
    for folder in folders:
        groups.setdefault(max(checkpoint.saved_steps(folder.path), default=0), []).append(folder)
    return list(groups.values())
