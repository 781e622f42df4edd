"""Several processes train as one: torchrun starts the same command."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from retconv.train import RunFolder, train
from retconv.train.config import AugmentConfig, OptimConfig, ScheduleConfig
from tests.compare import assert_close
from tests.train.small import tiny

ROOT = Path(__file__).parents[2]


def test_two_processes_train_the_run_of_one(tmp_path: Path) -> None:
    """Half of each batch in either, gradients averaged: the same weights and numbers at float32's tolerance."""
    config = replace(
        tiny(batch_size=256, ema=0.5),
        augment=AugmentConfig(),
        optim=OptimConfig(name="sgd", lr=0.01),
        schedule=ScheduleConfig(epochs=2, warmup_epochs=0),
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(config.as_dict()), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "retconv.train", "--recipe", str(recipe), "--root", str(tmp_path / "two"), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, "--seed", "0", "--seed", "1"], cwd=ROOT, env=environment, capture_output=True)
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout.decode().count("test accuracy") == 2
    for seed in (0, 1):
        alone = train(replace(config, seed=seed), tmp_path / "one", device="cpu", progress=False)[0]
        shared = RunFolder(tmp_path / "two", replace(config, seed=seed))
        for name, value in alone.weights().items():
            assert_close(shared.weights()[name], value)
        for ours, theirs in zip(shared.metrics(), alone.metrics(), strict=True):
            for key in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
                assert abs(ours[key] - theirs[key]) <= 1e-5 * abs(theirs[key])
        assert shared.provenance()[0]["processes"] == 2
