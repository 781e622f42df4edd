"""Models whose attention is a convolution exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retconv.grid import Grid
from retconv.masks import KernelTableMask
from retconv.models import add_masks
from tests.models.cases import plain
from tests.strategies import uniform


def periodic(grid: Grid, heads: int) -> Tensor:
    """A positive kernel of period n along each axis, so that all rows of its mask have one sum (law 17)."""
    ring = uniform(5, 0.1, 2.0, heads, *grid.shape)
    places = [torch.arange(1 - n, n) % n for n in grid.shape]
    for axis, place in enumerate(places, start=1):
        ring = ring.index_select(axis, place)
    return ring.float()


def planted(family: str) -> nn.Module:
    """``softmax(log M) V``: queries and keys are 0, so attention is the row-normalised mask whatever the image."""
    model = plain(family)
    add_masks(model, lambda grid, heads: KernelTableMask.from_kernel(periodic(grid, heads)), placement="bias_logits")
    for module in model.modules():
        if hasattr(module, "qkv"):
            width = module.qkv.weight.shape[1]
            with torch.no_grad():
                module.qkv.weight[: 2 * width] = 0
                if module.qkv.bias is not None:
                    module.qkv.bias[: 2 * width] = 0
                if hasattr(module, "relative_position_bias_table"):
                    module.relative_position_bias_table.zero_()
    return model


def wanted(grid: Grid, heads: int) -> Tensor:
    """The kernel that planted attention has: a row's sum is that of the ring, and 1 for each prefix token."""
    kernel = periodic(grid, heads).double()
    corner = kernel[(slice(None), *(slice(0, n) for n in grid.shape))]
    total = corner.flatten(1).sum(dim=1) + grid.prefix
    return kernel / total.reshape(-1, *[1] * grid.ndim)
