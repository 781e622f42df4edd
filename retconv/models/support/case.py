"""One model of the table of support, and how it is built with random weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor, nn

Library = str
LIBRARIES: tuple[Library, ...] = ("timm", "transformers", "torchvision")


@dataclass(frozen=True)
class Case:
    """A model to be tried.

    Attributes:
        library: A name of ``LIBRARIES``.
        model: Its name in timm's registry; of others, what the table calls it.
        shape: Of one input: ``(1, 3, height, width)``, of a video ``(1, frames, 3, height, width)``.
        options: Arguments of the model, or of its configuration, that make it small.
        factory: Of others than timm: dotted name of the class or function that makes the model.
        config: Of transformers: name of the class of its configuration.
        grid: Of a model that cuts patches before any module sees them: what ``add_masks`` must be told.
    """

    library: Library
    model: str
    shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    factory: str = ""
    config: str = ""
    grid: tuple[int, ...] | None = None

    def build(self) -> tuple[nn.Module, Tensor]:
        """The model in evaluation mode, and noise of its size, always the same.

        Raises:
            ModuleNotFoundError: If its library is not installed.
        """
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self._make()
        return model.eval(), torch.randn(self.shape, generator=torch.Generator().manual_seed(0))

    def _make(self) -> nn.Module:
        if self.library == "timm":
            return timm.create_model(self.model, num_classes=10, **self.options)
        module, _, name = self.factory.rpartition(".")
        make = getattr(_library(module), name)
        if not self.config:
            return make(**{key: _named(value) for key, value in self.options.items()})
        return make(getattr(_library(module), self.config)(**self.options))


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"the table of support needs {package}, which is not installed: pip install {package}, or leave it out "
            "with --library"
        ) from error


def _named(value: Any) -> Any:
    """A class that is given by its dotted name, so that lists of models are data."""
    if isinstance(value, str) and value.startswith("torchvision."):
        module, _, name = value.rpartition(".")
        return getattr(_library(module), name)
    return value
