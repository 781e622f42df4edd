"""Errors of augmentation; ``test_errors`` raises each."""

import torch

from retconv.data.augment import Augment, AutoAugment, RandAugment
from tests.error_table import Error

PLAIN = Augment((0.5,) * 3, (0.2,) * 3, flip=True)
GENERATOR = torch.Generator()


class Elsewhere:
    """A generator on another device, as far as one can have it on every machine."""

    device = torch.device("cuda", 0)


AUGMENT: dict[str, Error] = {
    "generator": (
        lambda: PLAIN.draw(1, 8, 8, Elsewhere()),  # type: ignore[arg-type]
        ValueError,
        r"the generator is on cuda:0: give a plain torch\.Generator\(\)",
    ),
    "dtype": (lambda: PLAIN(torch.zeros(2, 3, 8, 8), GENERATOR), ValueError, r"got torch\.float32 \(2, 3, 8, 8\)"),
    "grey": (
        lambda: PLAIN(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), GENERATOR),
        ValueError,
        r"expected uint8 images \(2, 3, H, W\) for 2 draws, got torch\.uint8 \(2, 1, 8, 8\)",
    ),
    "draws of another batch": (
        lambda: PLAIN.apply(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), PLAIN.draw(2, 8, 8, GENERATOR)),
        ValueError,
        "for 2 draws, got torch.uint8",
    ),
    "strength": (lambda: RandAugment(strength=31), ValueError, "strength must lie in 0 … 30, got 31"),
    "learned on": (
        lambda: AutoAugment("mnist").draw(1, 8, 8, GENERATOR),
        ValueError,
        "learned on 'mnist', but there are only cifar10, imagenet, svhn",
    ),
}

TABLES = {"augment": AUGMENT}
