"""Masks into a model and out of it again."""

from __future__ import annotations

import copy as copying
import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from retconv.attention import PLACEMENTS
from retconv.grid import Grid, GridLike
from retconv.masks import Mask
from retconv.models.described import Masking, forget, remember
from retconv.models.inputs import Example, call, evaluating, example_input, first
from retconv.models.masked import OWN, MaskedAttention, masked_class, plain_class
from retconv.models.named import MaskChoice, Share, make_masks
from retconv.models.places import Place, join, leave, release
from retconv.models.search import find_places
from retconv.names import unknown
from retconv.watching import is_readable


def add_masks(
    model: nn.Module,
    mask: MaskChoice,
    *,
    placement: str = "multiply_logits",
    share: Share = "head",
    where: str = "*",
    example: Example | None = None,
    prefix: int | None = None,
    grid: GridLike | None = None,
    pooled: bool = False,
    copy: bool = False,
    **options: Any,
) -> nn.Module:
    """Put a mask into every attention of a vision transformer.

    The model is run once to find where attention between the tokens of a grid happens, on the whole feature map or in
    windows, once on changed pictures to see that tokens lie by rows, and once more with the masks in. Weights, their
    names and everything else about the model stay as they are, and a checkpoint of the plain model still loads. When
    the image size changes, the masks move to the new grid. Which models are supported: ``docs/models.md``.

    A module that forms its own softmax gets its mask at the product of queries and keys, where that multiplies, or at
    the softmax; where heads are mixed in between (CaiT), at the mixed scores.

    Rows and columns of prefix tokens are neutral. So in a model that reads off its class token, the mask of the last
    layer has no effect and no gradient: only the class token's row leaves that layer.

    Attention of a class token to the patches has no square mask and stays as it is. If other attention is not masked, a
    warning says why.

    Args:
        model: A vision transformer of timm, transformers or torchvision, or any that attends by
            ``torch.nn.functional.scaled_dot_product_attention``, ``torch.nn.MultiheadAttention`` or a softmax of its
            own.
        mask: A name of ``retconv.models.MASKS`` (``"gmm"``, ``"elm"``, ``"table"``, ``"manhattan"``, …), a factory
            ``(grid, heads) -> Mask``, or a mask, which is copied to each place.
        placement: A name of ``retconv.attention.PLACEMENTS``.
        share: Who shares one set of numbers: ``"head"``, each head of each layer has its own; ``"layer"``, the heads of
            a layer share one; ``"model"``, all layers and heads share one (or the given mask itself).
        where: Only attention modules whose name matches this pattern, such as ``"blocks.[0-5].*"``.
        example: An input to run the model with, if it does not name its image size; of several inputs a mapping.
        prefix: How many tokens stand before those of the grid, if the model does not say it.
        grid: The shape of the token grid, if no feature map has it, as where patches are cut before the model.
        pooled: Also mask attention whose keys lie on a coarser grid (PVT, Twins, MViT), with a mask between the two
            (``retconv.Cross``): decays and Gaussian mixtures.
        copy: Leave the model alone and return a masked copy.
        **options: Further arguments of a named mask, such as ``components=3``.

    Returns:
        The model, or its copy.

    Raises:
        UnsupportedModelError: If no attention was found that a mask of a grid fits, naming what was seen and why not.
        ValueError: If the model has masks already, a name is unknown, the pattern matches nothing, mask and heads do
            not agree, or a mask that is to learn starts where its placement gives it no gradient: at 0 under
            ``bias_logits``.
        TypeError: If ``mask`` is no mask, name or factory.

    Example:
        >>> import timm
        >>> model = add_masks(timm.create_model("vit_tiny_patch16_224"), "gmm")
        >>> model(torch.rand(1, 3, 224, 224)).shape, len(retconv.models.masks_of(model))
        (torch.Size([1, 1000]), 12)
    """
    if placement not in PLACEMENTS:
        raise ValueError(unknown("placement", placement, PLACEMENTS))
    if masks_of(model):
        raise ValueError("the model has masks already: call remove_masks(model) first")
    model = copying.deepcopy(model) if copy else model
    example = example_input(model) if example is None else first(example)
    shape = None
    if grid is not None:
        Grid.of(grid).require_open("add_masks", "tokens of an image have a border, use grid.opened()")
        shape = Grid.of(grid).shape
    candidates, refused = find_places(model, example, prefix, shape, pooled)
    places = [place for place in candidates if fnmatchcase(place.name, where)]
    done = False
    try:
        if not places:
            raise ValueError(f"no attention matches where={where!r}: there are {', '.join(p.name for p in candidates)}")
        masks = make_masks(mask, [(place.grid(), place.heads) for place in places], share, options)
        for i, (place, one) in enumerate(zip(places, masks, strict=True)):
            _require_live_start(one, placement, place)
            _require_no_bias(placement, place)
            owner = model.get_submodule(places[0].name) if i > 0 and one is masks[0] else None
            module: Any = model.get_submodule(place.name)
            _put(module, one, placement, place, owner, next(module.parameters(), next(model.parameters())))
        with torch.no_grad(), evaluating(model):
            call(model, example)
        done = True
        given = {"placement": placement, "share": share, "where": where, "prefix": prefix, "pooled": pooled}
        remember(model, Masking.of(mask, example, options=options, grid=shape, **given))
        left = [f"'{name}': {reason}" for name, reason in refused.items() if fnmatchcase(name, where)]
        if left:
            warnings.warn(
                f"masks are in {len(places)} attention modules; {len(left)} stay plain, as {left[0]}. Say which to "
                "mask with where=",
                stacklevel=2,
            )
    finally:
        if not done:
            remove_masks(model)
        release(candidates, others=places if done else ())
    return model


def remove_masks(model: nn.Module) -> nn.Module:
    """Take every mask out: the model is again exactly what it was.

    Returns:
        The same model.

    Example:
        >>> import timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "gmm")
        >>> retconv.models.masks_of(remove_masks(model))
        {}
    """
    masked: dict[str, Any] = dict(masked_modules(model))
    leave([module.place for module in masked.values()])
    for module in masked.values():
        module.__class__ = plain_class(module)
        if module.place.fused is not None:
            module.fused_attn = module.place.fused
        if module.place.hook is not None:
            module.place.hook.remove()
        for name in OWN:
            module._modules.pop(name, None)
            module.__dict__.pop(name, None)
    for part in model.modules():  # which may have been given to add_masks by itself
        forget(part)
    return model


def masks_of(model: nn.Module) -> dict[str, Mask]:
    """The masks of a model by the name of their attention module, in the order of the model's modules.

    Example:
        >>> import timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "gmm")
        >>> list(masks_of(model))[:2]
        ['blocks.0.attn', 'blocks.1.attn']
    """
    return {name: module.mask for name, module in masked_modules(model)}


def grids_of(model: nn.Module) -> dict[str, Grid]:
    """The grid of each masked attention module, with its prefix tokens: the model's last image size, or its windows.

    Example:
        >>> import timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "gmm")
        >>> grids_of(model)["blocks.0.attn"]
        Grid((14, 14), prefix=1)
    """
    return {name: module.place.grid() for name, module in masked_modules(model)}


def kernels_of(model: nn.Module) -> dict[str, Tensor]:
    """The masks of a model as convolution kernels, each ``(heads, 2 n_1 − 1, 2 n_2 − 1)`` on its attention's grid.

    Raises:
        NotAConvolutionError: If a mask has none, as an element-wise mask once it has learnt.

    Example:
        >>> import timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "manhattan")
        >>> kernels_of(model)["blocks.0.attn"].shape
        torch.Size([3, 27, 27])
    """
    return {name: module.mask.kernel(module.place.grid()) for name, module in masked_modules(model)}


def masked_modules(model: nn.Module) -> Iterator[tuple[str, MaskedAttention]]:
    """The masked attention modules of a model with their names."""
    for name, module in model.named_modules():
        if isinstance(module, MaskedAttention):
            yield name, module


def _require_live_start(mask: Mask, placement: str, place: Place) -> None:
    """Refuse a mask that would hide every key from a head for ever: the logarithm of 0 has no gradient."""
    if not PLACEMENTS[placement].adds or not any(p.requires_grad for p in mask.parameters()):
        return
    with torch.no_grad():
        dead = (mask.forms(place.grid().without_prefix()).values == 0).flatten(1).all(dim=1)
    if is_readable(dead) and bool(dead.any()):
        raise ValueError(
            f"attention '{place.name}': bias_logits adds the logarithm of the mask, and {type(mask).__name__} is 0 "
            f"everywhere in head {int(dead.nonzero()[0])}: it hides every key, and its gradient is exactly 0 for ever. "
            "Start it at 1 (start='ones'), or choose a placement that multiplies, such as 'multiply_logits'"
        )


def _require_no_bias(placement: str, place: Place) -> None:
    """Refuse a placement without a softmax where something is added to the scores that it cannot leave out."""
    if place.biased and not PLACEMENTS[placement].softmax and PLACEMENTS[placement].scores:
        raise ValueError(
            f"attention '{place.name}' adds a bias to its scores, and {placement} has no softmax, so a bias on logits "
            "has no meaning: choose another placement, or leave the module out with where="
        )


def _no_fast_path(module: nn.Module, args: Any) -> None:
    """A hook that does nothing but be there: torch's encoder layer then calls its attention, not its weights."""


def _require_room(module: nn.Module, name: str) -> None:
    """Refuse a module whose own attributes would be lost, or whose call goes past its class."""
    taken = [own for own in OWN if hasattr(module, own)]
    if taken:
        raise ValueError(
            f"attention '{name}', a {type(module).__name__}, has its own {', '.join(taken)}, where a masked one keeps "
            "something else: call that otherwise in its class, or leave the module out with where="
        )
    if "forward" in module.__dict__:
        raise ValueError(
            f"attention '{name}' has a forward of its own on the instance, which goes past its class, and so past the "
            "mask: put the masks in first, or take that forward off"
        )


def _put(module: Any, mask: Mask, placement: str, place: Place, owner: nn.Module | None, weight: Tensor) -> None:
    _require_room(module, place.name)
    join(place)
    # Masks are computed in float32 at least, and cast to the scores' dtype last.
    mask.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
    module.__class__ = masked_class(type(module))
    if owner is not None:
        # One mask of the whole model belongs to its first place alone, so that it has one name in a checkpoint.
        module.__dict__["owner"] = owner
    else:
        module.mask = mask
    module.placement, module.place = placement, place
    if place.call == "multihead":
        place.hook = module.register_forward_pre_hook(_no_fast_path)
    if place.fused is not None:
        module.fused_attn = True
