"""Convolved heads from a checkpoint, which says which they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from retconv.heads.certifying import skip_unread
from retconv.heads.replacing import ConvolvedHeads
from retconv.heads.undoing import convolvable
from retconv.models.inputs import evaluating, example_input
from retconv.models.surgery import masked_modules

_NUMBERS = ".convolved.numbers"


def load_convolutions(
    model: nn.Module, state_dict: Mapping[str, Tensor], example: Tensor | None = None, **places: Any
) -> nn.Module:
    """Put the convolved heads of a checkpoint into a model that has none, and load the checkpoint.

    Nothing is measured: the certificate is the report of ``convolve``, which made the checkpoint.

    Args:
        model: The model that was convolved, as it is before that: with its masks, if it had some.
        state_dict: Of the convolved model.
        example: An input of batch size 1 to run the model with, if it does not name its image size.
        **places: As of ``convolve``.

    Returns:
        The model.

    Raises:
        ValueError: If the checkpoint has no convolved heads, the model has some already, or they are of no attention of
            the model.
        RuntimeError: If the checkpoint is not that of the model.

    Example:
        >>> import timm
        >>> from retconv.heads import convolve
        >>> vits = [timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1) for _ in range(2)]
        >>> report = convolve(vits[0], images=torch.randn(4, 3, 32, 32), heads={"blocks.0.attn": [1]}, rounds=0)
        >>> load_convolutions(vits[1], vits[0].state_dict()).blocks[0].attn.convolved.heads
        (1,)
    """
    names = [key.removesuffix(_NUMBERS) for key in state_dict if key.endswith(_NUMBERS)]
    if not names:
        raise ValueError("the checkpoint has no convolved heads: load it with model.load_state_dict")
    with convolvable(model, {"example": example} | places) as plain:
        modules: dict[str, Any] = dict(masked_modules(model))
        missing = sorted(set(names) - set(modules))
        if missing:
            raise ValueError(f"the checkpoint convolves heads of {missing}, no attention of the model: {list(modules)}")
        for name in names:
            module = modules[name]
            table = {
                part: state_dict[f"{name}.convolved.{key}"]
                for part, key in (("kernel", "kernel.weight"), ("rows", "rows"), ("columns", "columns"))
                if f"{name}.convolved.{key}" in state_dict
            }
            grid, numbers = module.place.grid(), state_dict[f"{name}{_NUMBERS}"].tolist()
            kernel = table.pop("kernel", torch.zeros(0, *grid.kernel_shape))
            convolved = ConvolvedHeads(numbers, module.place.heads, grid, kernel, **table, plain=plain)
            module.convolved = convolved.to(next(module.parameters(), next(model.parameters())).device)
        model.load_state_dict(dict(state_dict))
        with torch.no_grad(), evaluating(model):
            skip_unread(model, example_input(model) if example is None else example[:1])
    return model
