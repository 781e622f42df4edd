"""Small runs for tests: digits thinned out, a transformer of one block, a few steps."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from retconv import data
from retconv.train import Config, parse

BASE: dict[str, Any] = {
    "batch_size": 32,
    "data": {"name": "digits", "validation": 0.2},
    "model": {
        "name": "vit_tiny_patch16_224",
        "options": {
            "patch_size": 4,
            "embed_dim": 16,
            "depth": 2,
            "num_heads": 2,
            "class_token": False,
            "global_pool": "avg",
            "drop_path_rate": 0.2,
        },
    },
    "augment": {"mixup": 0.8, "cutmix": 1.0, "mix_probability": 0.7},
    "schedule": {"epochs": 2, "warmup_epochs": 1},
}


def tiny(**options: Any) -> Config:
    """A run of seconds; options at the top level are set otherwise."""
    return replace(parse(BASE), **options)


@cache
def few(name: str) -> data.Dataset:
    """The data set of a run on ``few_digits``, as ``load`` would give it by its name."""
    assert name == "digits"
    return few_digits()


def few_digits() -> data.Dataset:
    """160 training and 60 test images."""
    whole = data.load("digits")
    part = whole.subset(160, seed=0)
    return replace(part, test_images=whole.test_images[:60], test_labels=whole.test_labels[:60])
