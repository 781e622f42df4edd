"""Running a model once: an input of its size, and evaluation mode while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: An input of a model: what it is called with, by name where it is a mapping.
Example = Tensor | Mapping[str, Tensor]
#: torchvision's windows take every size and name none: this is that of their weights.
_TORCHVISION = 224


def example_input(model: nn.Module) -> Tensor:
    """Zeros ``(1, channels, height, width)`` of the size that a model names, of videos ``(1, frames, channels, …)``.

    Raises:
        ValueError: If it names none.
    """
    config = getattr(model, "config", None)
    modules = list(model.modules())
    sizes = [getattr(module, name, None) for module in modules for name in ("img_size", "image_size")]
    sizes += [getattr(config, "image_size", None), getattr(model, "default_cfg", {}).get("input_size")]
    sizes += [_TORCHVISION] if type(model).__module__.startswith("torchvision.") else []
    size = next((size for size in sizes if isinstance(size, int | tuple | list) and size), None)
    if size is None:
        raise ValueError(f"{type(model).__name__} names no image size: give an input of it as example=")
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    convolution = next((module for module in modules if isinstance(module, nn.Conv2d | nn.Conv3d)), None)
    named = getattr(model, "in_chans", None) or getattr(config, "num_channels", None)
    channels = named or (convolution.in_channels if convolution else 3)
    count = getattr(config, "num_frames", None)
    frames = [count] if isinstance(count, int) else []
    weight = next(model.parameters())
    return torch.zeros(1, *frames, channels, height, width, dtype=weight.dtype, device=weight.device)


def first(example: Example) -> Example:
    """The first element of a batch."""
    return example[:1] if isinstance(example, Tensor) else {name: value[:1] for name, value in example.items()}


def call(model: nn.Module, example: Example) -> Any:
    """What a model makes of an input; images go by their name where the model has one for them."""
    if not isinstance(example, Tensor):
        return model(**example)
    if "pixel_values" in inspect.signature(model.forward).parameters:
        return model(pixel_values=example)
    return model(example)


@contextmanager
def running(model: nn.Module, example: Example) -> Iterator[None]:
    """Say of a failure inside that the input may be at fault: the size a model names need not be its own.

    Raises:
        ValueError: Instead of a RuntimeError, AssertionError or one of a model's own ValueErrors.
    """
    try:
        yield
    except (RuntimeError, AssertionError, ValueError) as error:
        sizes = example.shape if isinstance(example, Tensor) else {name: x.shape for name, x in example.items()}
        raise ValueError(
            f"{type(model).__name__} does not run on an input {_text(sizes)} ({error}): give one of its own size as "
            "example=, of a model with several inputs all of them by name, or mask its image encoder"
        ) from error


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without ``torch.compile``, and afterwards each module's own mode again.

    By the flags alone: a module's own ``eval`` may do more, as merge an adapter, that setting a flag does not undo.
    What is compiled calls no hook, and would be compiled for the input of a look.
    """
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:
            module.training = False
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


def _text(sizes: Any) -> str:
    return str(tuple(sizes)) if isinstance(sizes, torch.Size) else str({k: tuple(v) for k, v in sizes.items()})
