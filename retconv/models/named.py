"""Masks by name, and the making of one mask for each place of a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from retconv.ambient import host
from retconv.grid import Grid
from retconv.kernels import slopes
from retconv.masks import (
    BiasMask,
    BiasTableMask,
    DecayMask,
    ElementwiseMask,
    GaussianMixtureMask,
    KernelTableMask,
    Mask,
    OffDiagonalMask,
    RetNetMask,
    WindowMask,
)
from retconv.masks.decay import Metric
from retconv.models.raster import RasterMask
from retconv.names import unknown

#: ``(grid, heads) -> Mask``, the grid without prefix tokens.
MaskFactory = Callable[[Grid, int], Mask]
MaskChoice = str | MaskFactory | Mask
Share = Literal["head", "layer", "model"]


def _alibi(
    grid: Grid, heads: int, metric: Metric = "manhattan", slope: str | float | Tensor = "alibi", learnable: bool = False
) -> Mask:
    """ALiBi's bias ``−m ‖δ‖`` is the logarithm of a decay with ``γ = exp(−m)``; Euclidean it is CROMA's 2D-ALiBi."""
    start = slopes(slope, heads) if isinstance(slope, str) else torch.as_tensor(slope, dtype=torch.float64)
    return DecayMask(heads, metric, (-start).exp(), learnable)


#: Masks by name: ``(grid, heads, **options) -> Mask``.
MASKS: dict[str, Callable[..., Mask]] = {
    "gmm": lambda grid, heads, **options: GaussianMixtureMask(heads, **options),
    "elm": lambda grid, heads, **options: ElementwiseMask(grid, heads, **options),
    "table": lambda grid, heads, **options: KernelTableMask(grid, heads, **options),
    "manhattan": lambda grid, heads, **options: DecayMask(heads, "manhattan", **options),
    "euclidean": lambda grid, heads, **options: DecayMask(heads, "euclidean", **options),
    "two_sided": lambda grid, heads, **options: RasterMask(DecayMask(heads, "two_sided", **options)),
    "off_diagonal": lambda grid, heads: OffDiagonalMask(heads),
    "retnet": lambda grid, heads, **options: RasterMask(RetNetMask(heads, **options)),
    "alibi": _alibi,
    "kerple_log": lambda grid, heads, **options: BiasMask(heads, "kerple_log", **options),
    "kerple_power": lambda grid, heads, **options: BiasMask(heads, "kerple_power", **options),
    "gpsa": lambda grid, heads, **options: BiasMask(heads, "gpsa", axes=grid.ndim, **options),
    "window": lambda grid, heads, **options: WindowMask(heads, **options),
    "swin_table": lambda grid, heads, **options: BiasTableMask(grid, heads, **options),
}


def make_masks(
    mask: MaskChoice, places: Sequence[tuple[Grid, int]], share: Share, options: dict[str, Any] | None = None
) -> list[Mask]:
    """One mask for each place of a model, sharing numbers as asked.

    Args:
        mask: A name of ``MASKS``, a factory ``(grid, heads) -> Mask``, or a mask, of which each place gets a copy (or,
            with ``share="model"``, the mask itself).
        places: Grid and number of heads of each place.
        share: Who shares one set of numbers: ``"head"``, each head of each place has its own; ``"layer"``, the heads of
            a place share one; ``"model"``, all places and heads share one.
        options: Further arguments of a named mask, such as ``{"components": 3}``.

    Returns:
        As many masks as places; the same object for all if the model shares one.

    Raises:
        ValueError: If the name or the way of sharing is unknown, options are given without a name, or a mask's heads
            are neither 1 nor a place's, or not 1 where a layer's share one.
        TypeError: If ``mask`` is none of the three, or a factory does not return a mask.
    """
    if share not in get_args(Share):
        raise ValueError(unknown("share", share, get_args(Share)))
    options = options or {}
    if options and not isinstance(mask, str):
        raise ValueError(f"options {sorted(options)} belong to a mask given by name: give them to the mask itself")
    if share == "model":
        # On the largest grid, so that a table or matrix that belongs to a grid covers every place it can.
        grid = max((grid for grid, _ in places), key=lambda grid: grid.size)
        masks = [mask if isinstance(mask, Mask) else _make(mask, grid, 1, options)] * len(places)
    else:
        masks = [_make(mask, grid, heads if share == "head" else 1, options) for grid, heads in places]
    for one, (_, heads) in zip(masks, places, strict=True):
        if one.heads > 1 and share == "layer":
            raise ValueError(f"share='layer' is one mask for all heads, got one of {one.heads} heads: give a mask of 1")
        if one.heads not in (1, heads):
            raise ValueError(
                f"a mask of {one.heads} heads cannot serve an attention of {heads}: give a mask of 1 head, or a name "
                "or factory, which makes one for each attention"
            )
    return masks


def _make(mask: MaskChoice, grid: Grid, heads: int, options: dict[str, Any]) -> Mask:
    if isinstance(mask, Mask):
        return copy.deepcopy(mask)
    grid = grid.without_prefix()
    if isinstance(mask, str):
        if mask not in MASKS:
            raise ValueError(unknown("mask", mask, sorted(MASKS)))
        with host():  # where its random numbers are the same for every device
            return MASKS[mask](grid, heads, **options)
    if isinstance(mask, type):
        name = mask.__name__
        raise TypeError(
            f"mask must be a name, a Mask, or a factory, got the class {name}: give lambda grid, heads: {name}(…)"
        )
    if not callable(mask):
        raise TypeError(f"mask must be a name, a Mask, or a factory (grid, heads) -> Mask, got {type(mask).__name__}")
    product = mask(grid, heads)
    if not isinstance(product, Mask):
        raise TypeError(f"the mask factory must return a retconv Mask, got {type(product).__name__}")
    return product
