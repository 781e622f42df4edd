"""Runs carried as archives: a few of them, and how they are made."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from retconv.train import Config, RunFolder, Trainer, train
from tests.train.small import few_digits, tiny

MIB = 2**20
MASKED = replace(
    tiny(),
    model=replace(
        tiny().model,
        name="retconv_vit_tiny",
        options={"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mask": "gmm"},
    ),
)


class Stop(Exception):
    """Thrown into a run to end it."""


def run(root: Path, seed: int = 0, stop: int | None = None, config: Config = MASKED) -> RunFolder:
    def on_step(trainer: Trainer) -> None:
        if trainer.done == stop:
            raise Stop

    config = replace(config, seed=seed)
    with suppress(Stop):
        train(config, root, data=few_digits(), device="cpu", progress=False, checkpoint_every=1, on_step=on_step)
    return RunFolder(root, config)


def source_runs(root: Path) -> Path:
    """Two finished runs and one that was stopped after its first epoch."""
    run(root, 0)
    run(root, 1)
    run(root, 2, stop=5)
    return root
