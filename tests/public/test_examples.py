"""Every public name has an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
from types import ModuleType
from typing import Any

import pytest
import torch

import retconv

#: The public modules of the package, in the order of its map.
MODULES = (
    "",
    "grid",
    "memory",
    "cross",
    "kernels",
    "convert",
    "masks",
    "operators",
    "checks",
    "retention",
    "attention",
    "approximate",
    "analysis",
    "analysis.spectrum",
    "analysis.locality",
    "analysis.effective",
    "proofs",
    "atlas",
    "models",
    "heads",
    "data",
    "train",
    "results",
    "sweep",
    "measure",
    "planted",
    "studies",
    "stats",
    "figures",
    "explorer",
)

#: Public names without an example, by what an example would need.
WITHOUT = {
    "serves the package alone": (
        "grid.kept",
        "grid.forget_kept",
        "cross.pair_index",
        "memory.require_memory",
    ),
    "takes long to provoke": ("approximate.exponential_sums.OrderError",),
    "a type": ("proofs.proof.Step",),
    "needs transformers": ("models.spared.SparesMasks",),
    "of files": (
        "data.errors.CorruptDataError",
        "data.errors.DataNotFoundError",
        "figures.formats.FiguresError",
    ),
    "of a training run": (
        "train.trainer.DivergedError",
        "train.files.TrainError",
        "train.run.train",
    ),
    "of training runs": (
        "sweep.run.Outcome",
        "sweep.run.sweep",
        "studies.tables.build_tables",
    ),
    "of a trained model": (
        "measure.model.Trained",
        "measure.convolved.convolved_table",
        "measure.measures.measure",
        "measure.measures.measured",
        "measure.convolved.merged",
    ),
    "its output is a picture": ("explorer.plate.Plate",),
}


def _public(name: str) -> dict[str, Any]:
    """Functions and classes that a module offers, by module and name of where they are defined."""
    module = importlib.import_module(f"retconv.{name}".rstrip("."))
    names = getattr(module, "__all__", None) or [n for n, o in vars(module).items() if _of(o, module)]
    offered = [getattr(module, n) for n in names]
    return {f"{o.__module__}.{o.__qualname__}": o for o in offered if inspect.isfunction(o) or inspect.isclass(o)}


def _of(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", "") == module.__name__ and not value.__name__.startswith("_")


NAMES = {name: value for module in MODULES for name, value in _public(module).items()}


def test_every_public_name_has_an_example() -> None:
    lacking = {name for name, value in NAMES.items() if ">>>" not in (value.__doc__ or "")}
    assert lacking == {f"retconv.{name}" for names in WITHOUT.values() for name in names}


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if ">>>" in (value.__doc__ or "")])
def test_example_runs(name: str) -> None:
    """With ``torch``, ``retconv`` and the names of its own module at hand."""
    value = NAMES[name]
    names = vars(importlib.import_module(value.__module__)) | {"torch": torch, "retconv": retconv}
    (test,) = [t for t in doctest.DocTestFinder(recurse=False).find(value, name, globs=names) if t.examples]
    text: list[str] = []
    doctest.DocTestRunner().run(test, out=text.append)
    assert not text, "".join(text)
