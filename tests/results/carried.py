"""Runs carried as archives: a few of them, and how they are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
import yaml

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


#: Two configurations of runs that nobody trained.
UNTRAINED = (tiny(seed=0), tiny(seed=1))
ORIGIN = {"commit": "x", "torch": "x", "device": "x", "threads": 1, "replicas": 1}
RESULT = {"test_accuracy": 0.5, "test_loss": 1.0, "epochs": 1, "test_images": 2}
MEASURES = {"images": 1, "part": "test", "commit": "x", "tables": {}}


def by_hand(root: Path, configs: Sequence[Config] = UNTRAINED) -> Path:
    """Finished runs, written without training, with every file that tables are made of."""
    for config in configs:
        run = RunFolder(root, config)
        (run.path / "kernels").mkdir(parents=True)
        files = {"result.json": RESULT, "provenance.jsonl": ORIGIN, "metrics.jsonl": {"epoch": 1}}
        for name, content in (files | {"measures.json": MEASURES}).items():
            (run.path / name).write_text(json.dumps(content) + "\n", encoding="utf-8")
        (run.path / "config.yaml").write_text(yaml.safe_dump(config.as_dict()), encoding="utf-8")
        run.add_kernels(1, {"mask": torch.eye(3)[None]})
    return root
