"""What a checkpoint says of a model's masks, and of its convolved heads: all, or nothing, or too little."""

from __future__ import annotations

from typing import Any

from torch import nn

from retconv.models.masked import PARTS, MaskedAttention


def name_missing(
    model: nn.Module, state: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str], *others: Any
) -> None:
    """Before a state is loaded: name what it lacks of masks, if it has some.

    An attention module that finds no mask of its own takes the checkpoint for the plain model's, and keeps the one that
    it has: only the model knows whether another module's is there.
    """
    for part in PARTS:
        expected = [
            [f"{prefix}{name}.{part}.{key}" for key in child.state_dict()]
            for name, module in model.named_modules()
            if isinstance(module, MaskedAttention) and (child := module._modules.get(part)) is not None
        ]
        lacking = [keys for keys in expected if state.keys().isdisjoint(keys)]
        if len(lacking) < len(expected):
            missing += [key for keys in lacking for key in keys]
