"""Masks without weight decay, in whatever optimiser the parameters of a model are put.

Decay pulls towards 0, where a Gaussian mixture is no mask at all: it would be a prior against the mask. Factories leave
out what has one axis or a name of theirs; σ and α have two, so they must be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from retconv.masks import Mask


def mask_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of all masks by their names in the model, wrapped masks (peft's, parametrised ones) among them.

    Example:
        >>> import timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "gmm")
        >>> list(mask_parameters(model))[:2]
        ['blocks.0.attn.mask.sigma', 'blocks.0.attn.mask.alpha']
    """
    masks = [module for module in model.modules() if isinstance(module, Mask)]
    learnt = {id(p) for mask in masks for p in mask.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) in learnt}


class Undecayed:
    """A model's ``no_weight_decay()`` with its masks in it, as timm's ``create_optimizer_v2`` and BEiT's factory ask.

    Names stand in the set as they are, and as patterns for a model that wraps this one and asks it: ``*.`` before them.

    Args:
        model: The model.
        own: Its own method, if it has one.
    """

    def __init__(self, model: nn.Module, own: Callable[[], Iterable[str]] | None) -> None:
        self.model, self.own = model, own

    def __call__(self) -> set[str]:
        """Names and patterns of parameters that shall not decay."""
        plain = getattr(type(self.model), "no_weight_decay", None)
        listed = self.own() if self.own is not None else plain(self.model) if plain is not None else ()
        masks = set(mask_parameters(self.model))
        return set(listed) | masks | {f"*.{name}" for name in masks}


def tell(model: nn.Module) -> None:
    """Let a model's ``no_weight_decay`` name its masks."""
    model.__dict__["no_weight_decay"] = Undecayed(model, model.__dict__.get("no_weight_decay"))


def untell(model: nn.Module) -> None:
    """Let it be as before ``tell``."""
    told = model.__dict__.get("no_weight_decay")
    if isinstance(told, Undecayed):
        del model.__dict__["no_weight_decay"]
        if told.own is not None:
            model.__dict__["no_weight_decay"] = told.own


def spare_masks(optimizer: Optimizer, model: nn.Module) -> Optimizer:
    """Take weight decay from the masks' parameters in an optimiser that exists, whatever made it.

    For models that wrap a masked one, and for factories that ask no model: its groups that decay are split, and the
    masks' halves keep every other setting. Do so before a scheduler, which counts groups, and before loading a state.

    Args:
        optimizer: The optimiser.
        model: The model with masks, or what wraps it.

    Returns:
        The same optimiser.

    Raises:
        ValueError: If it holds none of the masks' parameters.

    Example:
        >>> from retconv.masks import GaussianMixtureMask
        >>> mask = GaussianMixtureMask(2)
        >>> optimizer = torch.optim.AdamW(mask.parameters(), weight_decay=0.05)
        >>> [group["weight_decay"] for group in spare_masks(optimizer, mask).param_groups]
        [0.0]
    """
    masks = {id(p): name for name, p in mask_parameters(model).items()}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not held & set(masks):
        raise ValueError(
            f"this {type(optimizer).__name__} has none of the {len(masks)} parameters of masks in "
            f"{type(model).__name__} among its {len(held)}: give the model that it was made from"
        )
    for group in [group for group in optimizer.param_groups if group.get("weight_decay")]:
        theirs: list[Tensor] = [p for p in group["params"] if id(p) in masks]
        if len(theirs) == len(group["params"]):
            group["weight_decay"] = 0.0
        elif theirs:
            ours: dict[str, Any] = {"params": theirs, "weight_decay": 0.0}
            if "param_names" in group:
                names = [*zip(group["param_names"], group["params"], strict=True)]
                ours["param_names"] = [name for name, p in names if id(p) in masks]
                group["param_names"] = [name for name, p in names if id(p) not in masks]
            group["params"] = [p for p in group["params"] if id(p) not in masks]
            optimizer.add_param_group({**group, **ours})
    return optimizer


class SparesMasks:
    """Before ``transformers.Trainer`` among a trainer's bases: its optimiser leaves masks undecayed.

    ``Trainer`` asks no model, it goes by names (``bias``, ``norm``) and layers: ``class Mine(SparesMasks, Trainer)``.
    """

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """The names that decay, as ``Trainer`` has them, without those of masks."""
        base: Any = super()
        masks = mask_parameters(model)
        return [name for name in base.get_decay_parameter_names(model) if name not in masks]
