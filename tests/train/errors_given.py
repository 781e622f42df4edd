"""Errors of images and labels that training is given; ``test_errors`` raises each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from retconv.train import TrainError, train
from retconv.train.trainer import Trainer
from tests.error_table import Error
from tests.train.errors import in_folder
from tests.train.small import few_digits, tiny


def run_that_began_on_other_images(folder: Path) -> None:
    def stop(trainer: Trainer) -> None:
        raise InterruptedError

    data = few_digits()
    with suppress(InterruptedError):
        train(tiny(), folder, data=data, device="cpu", progress=False, checkpoint_every=1, on_step=stop)
    train(tiny(), folder, data=replace(data, train_images=255 - data.train_images), device="cpu", progress=False)


def finished_run_of_other_images(folder: Path) -> None:
    data = few_digits()
    train(tiny(), folder, data=data, device="cpu", progress=False)
    train(tiny(), folder, data=data, device="cpu", progress=False)
    train(tiny(), folder, data=replace(data, test_labels=data.test_labels.flip(0)), device="cpu", progress=False)


def own_data(**tensors: torch.Tensor) -> Callable[[], object]:
    return in_folder(lambda folder: train(tiny(), folder, data=replace(few_digits(), **tensors), device="cpu"))


TABLES: dict[str, dict[str, Error]] = {
    "given": {
        "a run that began on other images": (
            in_folder(run_that_began_on_other_images),
            TrainError,
            "the checkpoint of step 1 was trained on other images or labels than these, of .*: go on with the same",
        ),
        "a result of other images": (
            in_folder(finished_run_of_other_images),
            TrainError,
            r"\w+ was trained on other images or labels than these, of scikit-learn .*: give another folder of runs",
        ),
        "images of another type": (
            own_data(test_images=few_digits().test_images.float()),
            ValueError,
            r"test_images must be uint8 \(60, 3, 8, 8\) for these labels, .* got torch.float32 of shape",
        ),
        "labels beyond the classes": (
            own_data(train_labels=few_digits().train_labels + 1),
            ValueError,
            r"train_labels must lie in 0 … 9 for 10 classes, got 1 … 10: number them so",
        ),
    }
}
