"""``retconv bench augment``: a batch augmented as a whole, and by torchvision sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torchvision.transforms import v2

from retconv.bench.timing import progress, race
from retconv.data.augment import POLICIES, Augment, Erasing

REFERENCE = "torchvision v2, tensors one by one"
_MEAN, _STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
PEERS: dict[str, Callable[[], v2.Transform]] = {
    "trivialaugment": v2.TrivialAugmentWide,
    "randaugment": v2.RandAugment,
    "autoaugment-cifar10": partial(v2.AutoAugment, v2.AutoAugmentPolicy.CIFAR10),
    "autoaugment-imagenet": partial(v2.AutoAugment, v2.AutoAugmentPolicy.IMAGENET),
    "autoaugment-svhn": partial(v2.AutoAugment, v2.AutoAugmentPolicy.SVHN),
    "none": v2.Identity,
}


def bench(policies: Sequence[str], batch: int, size: int, rounds: int) -> pd.DataFrame:
    """Race random crop, mirror image, policy, normalisation and random erasing of one batch.

    Args:
        policies: Names of ``POLICIES``, or ``"none"``.
        batch: Images in the batch, on the CPU.
        size: Their height and width.
        rounds: Timed rounds.

    Returns:
        The rows of ``race`` with ``kind``, the policy, and ``images_per_s``.
    """
    images = torch.randint(256, (batch, 3, size, size), dtype=torch.uint8)
    pictures = [v2.functional.to_pil_image(image) for image in images]
    tables = []
    for policy in progress(list(policies), "bench augment"):
        chain = [v2.RandomCrop(size, padding=4), v2.RandomHorizontalFlip(), PEERS[policy]()]
        finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD), v2.RandomErasing(0.25)]
        augment = Augment(_MEAN, _STD, flip=True, policy=POLICIES.get(policy), erasing=Erasing(0.25))
        contenders: dict[str, Callable[[], object]] = {
            "retconv, the whole batch": partial(augment, images, torch.Generator().manual_seed(0)),
            REFERENCE: partial(_one_by_one, v2.Compose([*chain, *finish]), list(images)),
            "torchvision v2, Pillow images one by one": partial(
                _one_by_one, v2.Compose([*chain, v2.PILToTensor(), *finish]), pictures
            ),
        }
        table = race(contenders, rounds, REFERENCE)
        table.insert(0, "kind", policy)
        table["images_per_s"] = batch / table["ms"] * 1e3
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _one_by_one(transform: v2.Transform, images: Sequence[Any]) -> Tensor:
    return torch.stack([transform(image) for image in images])
