"""Watching the attention weights of a model while it runs, and leaving it as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from retconv.grid import GridLike
from retconv.models import add_masks, remove_masks
from retconv.models.inputs import evaluating
from retconv.models.masked import MaskedAttention
from retconv.models.neutral import NeutralMask
from retconv.models.surgery import masked_modules

_NOTHING = object()


@contextmanager
def observed(model: nn.Module, observers: Mapping[str, Callable[[Tensor], object]]) -> Iterator[None]:
    """Inside, masked attention modules hand the weights ``(batch, heads, length, length)`` of every call to observers.

    Args:
        model: A masked model.
        observers: By the module's name.
    """
    modules: dict[str, Any] = dict(masked_modules(model))
    before = {name: vars(modules[name]).get("observer", _NOTHING) for name in observers}
    try:
        for name, observer in observers.items():
            modules[name].observer = observer
        yield
    finally:
        for name, observer in before.items():
            if observer is _NOTHING:
                vars(modules[name]).pop("observer", None)
            else:
                modules[name].observer = observer


@contextmanager
def watchable(
    model: nn.Module, where: str, example: Tensor, prefix: int | None = None, grid: GridLike | None = None
) -> Iterator[tuple[dict[str, MaskedAttention], list[str]]]:
    """Inside, the model is in evaluation mode and its attention can be observed; afterwards it is what it was.

    A plain model has neutral masks for the time. Modes, hooks, attributes and the states of random generators come back
    as they were. Of a model that has masks those are watched, and no other.

    Args:
        model: Plain or masked.
        where: Only attention modules whose name matches this pattern.
        example: One image, ``(1, channels, height, width)``.
        prefix: As for ``add_masks``.
        grid: As for ``add_masks``.

    Yields:
        The attention modules by name, and what was said of attention that cannot be watched.

    Raises:
        UnsupportedModelError: If there is no attention that can be watched.
        ValueError: If no module matches the pattern, or the model does not run on the example.
    """
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    is_masked = any(masked_modules(model))
    with torch.random.fork_rng(devices), torch.no_grad(), evaluating(model):
        notes: list[str] = []
        try:
            if not is_masked:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    add_masks(model, NeutralMask(), where=where, example=example, prefix=prefix, grid=grid)
                notes = [str(one.message) for one in caught]
            masked: dict[str, Any] = {n: m for n, m in masked_modules(model) if fnmatchcase(n, where)}
            modules = {name: module for name, module in masked.items() if module.place.keys is None}
            pooled = [name for name in masked if name not in modules]
            if pooled:
                notes.append(
                    f"{', '.join(pooled)}: keys lie on a coarser grid, and weights between two grids are left out"
                )
            if not modules:
                names = ", ".join(name for name, _ in masked_modules(model))
                raise ValueError(
                    f"no masked attention on one grid matches where={where!r}: there are {names}"
                    + "".join(f"; {note}" for note in notes)
                )
            yield modules, notes
        finally:
            if not is_masked:
                remove_masks(model)
