"""Attention weights of a trained model, and what becomes of it when they are replaced by a convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from retconv.analysis.effective import Effective, EffectiveKernel
from retconv.approximate import truncate
from retconv.heads.observing import observed
from retconv.masks import KernelTableMask
from retconv.measure.model import Trained
from retconv.models import add_masks, grids_of, masks_of
from retconv.models.neutral import NeutralMask
from retconv.models.surgery import masked_modules
from retconv.train.build import mask_kernel


def with_places(trained: Trained) -> Trained:
    """The same model with a neutral mask if it has none: its attention can then be observed and replaced."""
    if not masks_of(trained.model):
        add_masks(trained.model, NeutralMask(), where="*blocks*")
        trained.model.requires_grad_(False)
    return trained


def effective_kernels(trained: Trained) -> dict[str, Effective]:
    """Law 17: the effective kernel of every layer's attention weights over all of its images.

    Args:
        trained: Of a model with places (``with_places``).

    Returns:
        By the name of the attention module, in order.
    """
    streams = {name: EffectiveKernel(grid) for name, grid in grids_of(trained.model).items()}
    with observed(trained.model, {name: stream.update for name, stream in streams.items()}):
        for _ in trained.logits():
            pass
    return {name: stream.result() for name, stream in streams.items()}


@contextmanager
def replaced(model: nn.Module, kernels: Mapping[str, Tensor], placement: str | None = None) -> Iterator[None]:
    """Inside, the masks of some attention modules are other kernels; afterwards the model is what it was.

    Args:
        model: A masked model.
        kernels: ``(heads, 2 n_1 − 1, …)`` by the module's name.
        placement: Where they act, if not where the mask did: ``"convolution"`` makes the kernel all that mixes tokens.

    Raises:
        ValueError: If a kernel is to replace attention that has prefix tokens, for which a kernel says nothing.
    """
    modules: dict[str, Any] = dict(masked_modules(model))
    with_prefix = [name for name in kernels if placement == "convolution" and modules[name].place.prefix]
    if with_prefix:
        raise ValueError(
            f"attention {', '.join(with_prefix)} has prefix tokens, whose weights no kernel of the grid holds: replace "
            "it in a model with mean pooling"
        )
    before = {name: (modules[name].mask, modules[name].placement) for name in kernels}
    # One mask of all layers is its owner's: the others hold it themselves while the owner has another.
    lent = {name: module.mask for name, module in modules.items() if module.owner is not None}
    try:
        for name, mask in lent.items():
            modules[name].mask = mask
        for name, kernel in kernels.items():
            weight = next(modules[name].parameters(), next(model.parameters()))
            modules[name].mask = KernelTableMask.from_kernel(kernel.to(weight.device, weight.dtype)).requires_grad_(
                False
            )
            modules[name].placement = placement or modules[name].placement
        yield
    finally:
        for name, (mask, place) in before.items():
            modules[name].mask, modules[name].placement = mask, place
        for name in lent:
            del modules[name].mask


def truncated_kernels(model: nn.Module, size: int) -> dict[str, Tensor]:
    """The kernels of a model's masks (a mask without one is first projected, law 3), 0 outside of ``size × size``."""
    grids = grids_of(model)
    kernels = {name: mask_kernel(mask, grids[name])[0] for name, mask in masks_of(model).items()}
    return {name: truncate(kernel, size=size).kernel for name, kernel in kernels.items()}
