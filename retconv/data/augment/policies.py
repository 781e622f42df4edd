"""Which operations a sample goes through, and how strongly: policies by name, as torchvision defines them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torchvision import transforms

from retconv.data.augment.operations import NAMES

#: Operations whose magnitude is negated with probability ½.
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
#: TrivialAugment and RandAugment choose among all operations but the last, Invert.
CHOICES = NAMES[:-1]


class Policy(Protocol):
    """What chooses chains of operations."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw one chain for each of ``count`` images of a size.

        Returns:
            Positions in ``OPERATIONS``, int64, and magnitudes, float64, ``(count, depth)`` each, on the CPU.
        """
        ...


@dataclass(frozen=True)
class TrivialAugment:
    """One operation at one strength, all equally likely (Müller and Hutter 2021, the wide space)."""

    bins: int = 31

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See ``Policy.draw``."""
        operations = torch.randint(len(CHOICES), (count, 1), generator=generator)
        strength = torch.randint(self.bins, (count, 1), generator=generator)
        return operations, _magnitudes(operations, strength, _table(True, self.bins, height, width), generator)


@dataclass(frozen=True)
class RandAugment:
    """Several operations, all equally likely, at one fixed strength (Cubuk et al. 2020)."""

    depth: int = 2
    strength: int = 9
    bins: int = 31

    def __post_init__(self) -> None:
        if not 0 <= self.strength < self.bins:
            raise ValueError(f"RandAugment: strength must lie in 0 … {self.bins - 1}, got {self.strength}")

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See ``Policy.draw``."""
        operations = torch.randint(len(CHOICES), (count, self.depth), generator=generator)
        strength = torch.full_like(operations, self.strength)
        return operations, _magnitudes(operations, strength, _table(False, self.bins, height, width), generator)


@dataclass(frozen=True)
class AutoAugment:
    """One of 25 learned pairs of operations, each with its probability and strength (Cubuk et al. 2019).

    Attributes:
        learned_on: ``"cifar10"``, ``"imagenet"`` or ``"svhn"``.
    """

    learned_on: str = "cifar10"

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See ``Policy.draw``."""
        pairs, probability, strengths = _pairs(self.learned_on)
        indices = torch.randint(len(pairs), (count,), generator=generator)
        applied = torch.rand(count, 2, generator=generator) <= probability[indices]
        operations = torch.where(applied, pairs[indices], NAMES.index("Identity"))
        return operations, _magnitudes(operations, strengths[indices], _table(False, 10, height, width), generator)


#: Policies by the names that recipes use.
POLICIES: dict[str, Policy] = {
    "trivialaugment": TrivialAugment(),
    "randaugment": RandAugment(),
    "autoaugment-cifar10": AutoAugment("cifar10"),
    "autoaugment-imagenet": AutoAugment("imagenet"),
    "autoaugment-svhn": AutoAugment("svhn"),
}


def _magnitudes(operations: Tensor, strength: Tensor, table: Tensor, generator: torch.Generator) -> Tensor:
    """Magnitudes of the table, those of signed operations negated at random."""
    negative = torch.rand(operations.shape, generator=generator) < 0.5
    signed = torch.tensor([name in SIGNED for name in NAMES])
    sign = torch.where(negative & signed[operations], -1.0, 1.0).double()
    return sign * table[operations, strength]


@lru_cache(maxsize=64)
def _table(wide: bool, bins: int, height: int, width: int) -> Tensor:
    """Magnitude of each operation at each strength, float64 ``(operations, bins)``; 0 where there is none."""
    factor = 0.99 if wide else 0.9
    largest = {
        "ShearX": 0.99 if wide else 0.3,
        "ShearY": 0.99 if wide else 0.3,
        "TranslateX": 32.0 if wide else 150 / 331 * width,
        "TranslateY": 32.0 if wide else 150 / 331 * height,
        "Rotate": 135.0 if wide else 30.0,
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), factor),
    }
    rows = {name: torch.linspace(0.0, top, bins) for name, top in largest.items()}
    rows["Posterize"] = (8 - torch.arange(bins) / ((bins - 1) / (6 if wide else 4))).round()
    rows["Solarize"] = torch.linspace(1.0, 0.0, bins)
    return torch.stack([rows.get(name, torch.zeros(bins)) for name in NAMES]).double()


@lru_cache(maxsize=8)
def _pairs(learned_on: str) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs as torchvision lists them: positions in ``OPERATIONS``, probabilities, strengths, ``(25, 2)`` each."""
    known = {policy.value: policy for policy in transforms.AutoAugmentPolicy}
    if learned_on not in known:
        raise ValueError(f"AutoAugment: learned on {learned_on!r}, but there are only {', '.join(sorted(known))}")
    pairs = transforms.AutoAugment(known[learned_on]).policies
    return (
        torch.tensor([[NAMES.index(name) for name, _, _ in pair] for pair in pairs]),
        torch.tensor([[probability for _, probability, _ in pair] for pair in pairs]),
        torch.tensor([[strength or 0 for _, _, strength in pair] for pair in pairs]),
    )
