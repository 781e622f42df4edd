"""How each form is read in which a mask is given."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from torch.nn import functional as F

from retconv.convert.shapes import check_kernel, check_mask, prefix_remedy
from retconv.grid import Grid
from retconv.kernels import Decay, Exponentials, Gates, PolylineGates, QueryGaussian, Separable
from retconv.masks.forms import Forms
from retconv.masks.parts import reads


@reads(Forms)
def _(mask: Forms, grid: Grid) -> Forms:
    if mask.grid != grid:
        raise ValueError(f"these forms are of {mask.grid}, not of {grid}: read the mask on that grid")
    return mask


@reads(Tensor)
def _(mask: Tensor, grid: Grid) -> Forms:
    handed_in = not mask.requires_grad
    # On a grid of one token both have one entry a head, and a kernel serves every backend.
    if tuple(mask.shape[1:]) == (grid.length, grid.length) != grid.kernel_shape:
        check_mask(mask, grid)
        return Forms(grid, mask.shape[0], {"entries": mask}, handed_in=handed_in)
    square = mask.ndim == 3 and mask.shape[1] == mask.shape[2]
    also = prefix_remedy(mask.shape[-1], grid) if square else ""
    check_kernel(mask, grid, also=f"; a mask itself is (heads, {grid.length}, {grid.length}){also}")
    return Forms(grid, mask.shape[0], {"kernel": mask}, handed_in=handed_in)


@reads(Separable)
def _(mask: Separable, grid: Grid) -> Forms:
    grid.require_open("kernels.Separable", "use retconv.wrap(mask.kernel(), grid)")
    forms = Forms(grid, mask.factors[0].shape[0], {"factors": mask})
    check_kernel(cast(Tensor, forms.kernel), grid)
    return forms


@reads(Decay)
def _(mask: Decay, grid: Grid) -> Forms:
    mask.require_line(grid)
    plain = grid.without_prefix()
    form = {"decay": mask} if grid.is_open else {"kernel": lambda: mask.kernel(plain)}
    return Forms(grid, mask.gamma.shape[0], {**form, "log": lambda: mask.log_kernel(plain)})


@reads(Exponentials)
def _(mask: Exponentials, grid: Grid) -> Forms:
    grid.require_open("kernels.Exponentials", "use retconv.wrap(mask.kernel(n), grid)")
    if grid.ndim != 1:
        raise ValueError(f"a sum of exponentials is a kernel on one axis, got {grid}: use Grid({grid.size})")
    return Forms(grid, mask.past_poles.shape[0], {"exponentials": mask})


@reads(Gates, PolylineGates, QueryGaussian)
def _(mask: Any, grid: Grid) -> Forms:
    mask.require(grid)
    body, edge = grid.without_prefix(), (grid.prefix, 0, grid.prefix, 0)
    entries, log = lambda: F.pad(mask.entries(body), edge, value=1.0), lambda: F.pad(mask.log_entries(body), edge)
    return Forms(grid, mask.heads, {"entries": entries, "log": log, "gates": mask if isinstance(mask, Gates) else None})
