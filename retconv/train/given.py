"""Modules whose values a forward pass is given from outside: random numbers of drop path, and masks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.func import functional_call

from retconv.grid import Grid, GridLike
from retconv.masks import Mask
from retconv.models import grids_of, masks_of
from retconv.models.surgery import masked_modules

#: What ``vars`` of a module hold that is the same for every module, or stacked.
_MACHINERY = set(vars(nn.Module())) | {"training"}
_PLAIN = (bool, int, float, str, tuple, list, type(None), torch.Size, torch.dtype)
#: Below this many tokens a mask is given with all of its entries, from there on as its kernel.
_ENTRIES_BELOW = 1024


class GivenDropPath(nn.Module):
    """timm's ``DropPath`` with its randomness given from outside, as the buffer ``scale``.

    In training a sample whose draw u, uniform on [0, 1), is below p leaves the residual branch out, and the others are
    scaled by 1/(1 − p). With draws from outside, each replica can have its own seed. A module that a block calls twice,
    as CaiT's do, leaves out both branches of a sample or none, where timm draws for each.

    Args:
        p: Probability of leaving the branch out.
    """

    scale: Tensor  # shape: (batch,), 0 or 1/(1 − p); the 1 it starts with keeps every branch

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of shape ``(batch, …)`` with the dropped samples 0 and the others scaled."""
        return x * self.scale.to(x.dtype).view(-1, *[1] * (x.ndim - 1)) if self.training else x


class _GivenKernel(Mask):
    """A mask whose kernel is given."""

    values: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__(heads)
        self.register_buffer("values", torch.empty(0), persistent=False)

    def kernel(self, grid: GridLike) -> Tensor:
        return self.values


class _GivenEntries(_GivenKernel):
    """A mask whose entries ``(heads, length, length)`` are given."""

    def forward(self, grid: GridLike) -> Tensor:
        return self.values


class _Evaluate(nn.Module):
    """A mask as a module that gives its entries or its kernel."""

    def __init__(self, mask: Mask, grid: Grid, entries: bool) -> None:
        super().__init__()
        self.mask, self.grid, self.entries = mask, grid, entries

    def forward(self) -> Tensor:
        values: Tensor = self.mask(self.grid) if self.entries else self.mask.kernel(self.grid)
        return values


class MaskGroup:
    """Masks of one form on one grid, in several layers of several models, computed in one call as one mask's heads.

    Attributes:
        names: Of the masks, as modules of the model.
    """

    def __init__(self, names: Sequence[str], mask: Mask, grid: Grid) -> None:
        self.names, self.heads = list(names), mask.heads
        self._own = [name for name, _ in [*mask.named_parameters(), *mask.named_buffers()]]
        gathers = type(mask).forward is Mask.forward
        self._evaluate = _Evaluate(copy.deepcopy(mask), grid, grid.length < _ENTRIES_BELOW or not gathers).to("meta")

    @property
    def leaves(self) -> list[str]:
        """Names of the parameters and buffers of all of them."""
        return [f"{name}.{leaf}" for name in self.names for leaf in self._own]

    def given(self) -> Mask:
        """The module that stands for each of the masks in a model that is given their values."""
        return (_GivenEntries if self._evaluate.entries else _GivenKernel)(self.heads)

    def values(self, state: Mapping[str, Tensor], replicas: int) -> dict[str, Tensor]:
        """Values of each mask, ``(R, heads, …)``, or ``(heads, …)`` of a single model, by the name of its buffer."""
        lead = (replicas,) if replicas > 1 else ()
        axis = len(lead)
        shape = (*lead, len(self.names), self.heads)
        stacked = {
            f"mask.{leaf}": torch.stack([state[f"{name}.{leaf}"] for name in self.names], dim=axis).flatten(0, axis + 1)
            for leaf in self._own
        }
        # Some masks spread one number over all of their heads.
        self._evaluate.mask.heads = replicas * len(self.names) * self.heads
        parts = functional_call(self._evaluate, stacked).unflatten(0, shape).unbind(axis)
        return {f"{name}.values": part for name, part in zip(self.names, parts, strict=True)}


def mask_groups(model: nn.Module) -> list[MaskGroup]:
    """The masks of a model by form and grid; without those that have numbers other than for each head."""
    grids, groups = grids_of(model), dict[Any, list[tuple[str, Mask, Grid]]]()
    owned = {id(module): name for name, module in model.named_modules()}
    for place, mask in masks_of(model).items():
        name, tensors = owned[id(mask)], [*mask.named_parameters(), *mask.named_buffers()]
        if not tensors or any(t.ndim == 0 or len(t) != mask.heads for _, t in tensors):
            continue
        key = (str(settings(mask)), grids[place], type(mask))
        members = groups.setdefault(key, [])
        if all(name != other for other, *_ in members):
            members.append((name, mask, grids[place]))
    # A mask that several grids share is left where it is.
    counts: dict[str, int] = {}
    for members in groups.values():
        for name, *_ in members:
            counts[name] = counts.get(name, 0) + 1
    return [
        MaskGroup([name for name, *_ in members], *members[0][1:])
        for members in groups.values()
        if all(counts[name] == 1 for name, *_ in members)
    ]


def settings(model: nn.Module) -> dict[str, Any]:
    """Class and plain attributes of every module, and shapes of every tensor, by name.

    ``start`` is left out: how a mask's values began is not what they mean.
    """
    entries: dict[str, Any] = {}
    for name, module in model.named_modules():
        entries[name] = type(module)
        for key, value in sorted(vars(module).items()):
            if key not in _MACHINERY and key != "start" and isinstance(value, _PLAIN):
                entries[f"{name}.{key}".lstrip(".")] = value
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        entries[f"shape of {name}"] = tuple(tensor.shape)
    return entries


def taking(model: nn.Module, groups: Sequence[MaskGroup]) -> tuple[nn.Module, list[str]]:
    """A copy of a model without values, whose masks and drop paths take theirs from outside.

    Returns:
        The copy, on the meta device, and the names of its drop paths.
    """
    model = copy.deepcopy(model)
    paths = []
    for name, module in list(model.named_modules()):
        if isinstance(module, DropPath):
            _set(model, name, GivenDropPath(module.drop_prob))
            paths.append(name)
    for group in groups:
        for name in group.names:
            old, stand_in = model.get_submodule(name), group.given()
            for _, module in masked_modules(model):
                if module.__dict__.get("mask") is old:  # shared by all layers, owned by one
                    module.__dict__["mask"] = stand_in
            _set(model, name, stand_in)
    return model.to("meta"), paths


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, module)
