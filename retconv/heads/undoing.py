"""A model whose heads are to be convolved, and its way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from retconv.models import add_masks, masks_of, remove_masks
from retconv.models.neutral import NeutralMask
from retconv.models.surgery import masked_modules


@contextmanager
def convolvable(model: nn.Module, places: dict[str, Any]) -> Iterator[bool]:
    """Inside, and afterwards, the model has masks, for heads to be convolved; if that fails it is what it was.

    Args:
        model: The model. If it is plain it gets neutral masks.
        places: Arguments of ``add_masks`` for a plain model.

    Yields:
        Whether it was plain.

    Raises:
        ValueError: If it has convolved heads already.
    """
    if any(getattr(module, "convolved", None) is not None for _, module in masked_modules(model)):
        raise ValueError("the model has convolved heads already: call remove_convolutions(model) first")
    plain = not masks_of(model)
    try:
        if plain:
            add_masks(model, NeutralMask(), **places)
        yield plain
    except BaseException:
        remove_convolutions(model)
        if plain:
            remove_masks(model)
        raise


def remove_convolutions(model: nn.Module) -> nn.Module:
    """Let convolved heads attend again. A model that had no masks has none again, and is bit for bit what it was.

    Returns:
        The same model.

    Example:
        >>> import timm
        >>> model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1).eval()
        >>> x = torch.rand(2, 3, 32, 32)
        >>> before = model(x)
        >>> report = retconv.convolve(model, images=x, heads={"blocks.0.attn": [0]}, rounds=0)
        >>> torch.equal(remove_convolutions(model)(x), before)
        True
    """
    convolved = [module for _, module in masked_modules(model) if getattr(module, "convolved", None) is not None]
    # Before its class is the plain one again, which knows nothing of them.
    plain = any(module.convolved.plain for module in convolved)
    for module in convolved:
        del module.convolved
    return remove_masks(model) if plain else model
