"""What a training run is: frozen, typed configurations, of which the hash is the run's name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any

from retconv.names import yaml_names

RECIPES_FOLDER = resources.files("retconv.train") / "recipes"
#: The recipes of the package, by name.
RECIPES = yaml_names(RECIPES_FOLDER)
#: Optimisers of timm that treat every element alone, so that stacked replicas cannot feel one another.
OPTIMISERS = ("adamw", "adam", "nadamw", "lion", "sgd", "momentum")
#: Automatic augmentation by name; AutoAugment has a policy for each of several data sets.
POLICIES = ("none", "trivialaugment", "randaugment", "autoaugment")

#: Options that came after runs had been stored, with the value that those runs had.
_YOUNGER: dict[tuple[str, str], Any] = {("data", "fraction"): 1.0, ("optim", "decay_masks"): False}


def option(
    default: Any, text: str, *, choices: tuple[str, ...] = (), low: float | None = None, high: float | None = None
) -> Any:
    """A field with what the parser checks and the help prints: its choices or its closed range."""
    return field(default=default, metadata={"help": text, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how many of the training images validate."""

    name: str = option("cifar10", "data set, as retconv.data.load names it")
    validation: float = option(0.1, "share of the training images held out, class by class", low=0, high=0.9)
    split_seed: int = option(0, "of the held-out share: the same for every run to be compared", low=0, high=2**63 - 1)
    fraction: float = option(
        1.0,
        "share of the other training images that is learnt from, class by class, in as many steps as all of them take",
        low=1e-6,
        high=1,
    )


@dataclass(frozen=True)
class ModelConfig:
    """A timm model by name; image size, channels and classes come from the data."""

    name: str = option("retconv_vit_tiny", "model, as timm.create_model names it")
    options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "further arguments of timm.create_model; of retconv's models also mask, mask_options, placement, "
            "share and pooling, such as mask: manhattan, mask_options: {learnable: true}"
        },
    )


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training images, sample by sample, on the training device."""

    crop: int = option(0, "random crop after padding by this many pixels", low=0)
    flip: bool | None = option(None, "mirror half of the images; null: where the data set allows it")
    policy: str = option("none", "automatic augmentation", choices=POLICIES)
    erase: float = option(0.0, "probability of random erasing", low=0, high=1)
    mixup: float = option(0.0, "alpha of Mixup; 0: off", low=0)
    cutmix: float = option(0.0, "alpha of CutMix; 0: off", low=0)
    mix_probability: float = option(1.0, "of a batch to be mixed at all", low=0, high=1)
    repeats: int = option(1, "times that an image stands in each epoch, in one batch (repeated augmentation)", low=1)


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser, from timm's factory."""

    name: str = option("adamw", "optimiser", choices=OPTIMISERS)
    lr: float = option(1e-3, "learning rate after warm-up", low=0)
    weight_decay: float = option(0.05, "on matrices; on everything with decay_all", low=0)
    decay_all: bool = option(False, "decay masks, norms and biases too, as the reference does")
    decay_masks: bool = option(False, "decay the parameters of masks, not norms and biases; instead of decay_all")
    clip: float = option(0.0, "largest norm of the gradient, of each replica by itself; 0: no limit", low=0)


@dataclass(frozen=True)
class ScheduleConfig:
    """Length, warm-up and cosine, from timm's factory."""

    epochs: int = option(100, "passes over the training images (times augment.repeats)", low=1)
    warmup_epochs: int = option(10, "epochs of linear warm-up", low=0)
    warmup_lr: float = option(1e-6, "learning rate at the first step of warm-up", low=0)
    min_lr: float = option(1e-5, "learning rate at the end", low=0)


@dataclass(frozen=True)
class Config:
    """One training run: everything that its numbers depend on, and nothing else.

    Where it runs, how often it saves and how many replicas share a model are not part of it: they do not change what
    is computed, beyond rounding where ``precision`` is left to the device, and which images are mixed where several
    processes share a step.

    Example:
        >>> retconv.train.load("smoke").data.name
        'digits'
    """

    seed: int = option(0, "of start, order, augmentation and drop path", low=0, high=2**63 - 1)
    batch_size: int = option(128, "images in a step, over all processes", low=2)
    smoothing: float = option(0.1, "label smoothing", low=0, high=0.99)
    ema: float = option(
        0.0, "decay of the moving average of weights, which is then what is tested; 0: none", low=0, high=1
    )
    select: str = option(
        "last", "weights that are tested: of the last epoch or best on validation", choices=("last", "best")
    )
    precision: str = option(
        "float32",
        "of the forward pass; auto: bfloat16 where the device has units for it",
        choices=("float32", "bfloat16", "auto"),
    )
    compile: bool | None = option(False, "compile the step with torch.compile; null: on a GPU")
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def as_dict(self) -> dict[str, Any]:
        """Nested dictionaries of plain values, as YAML and JSON hold them."""
        return dataclasses.asdict(self)

    @cached_property
    def id(self) -> str:
        """The name of the run: 16 hexadecimal digits of the SHA-256 of its canonical JSON.

        An option that is younger than stored runs is left out at the value that they had, so that they keep their name.
        """
        values = self.as_dict()
        for (part, key), before in _YOUNGER.items():
            if values[part][key] == before:
                del values[part][key]
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"optim": {"lr": 1}}`` as ``{"optim.lr": 1}``; an empty mapping stands for itself."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def as_now(values: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration with the options that are younger than it, at the values that its run had."""
    filled = dict(values)
    for (part, key), before in _YOUNGER.items():
        if isinstance(filled.get(part), Mapping):
            filled[part] = {key: before} | filled[part]
    return filled


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Lines ``optim.lr: 0.001 against 0.01`` for every option in which two nested dictionaries differ."""
    a, b = flatten(one), flatten(other)
    missing = object()
    return [
        f"{key}: {a.get(key, 'nothing')!r} against {b.get(key, 'nothing')!r}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, missing) != b.get(key, missing)
    ]
