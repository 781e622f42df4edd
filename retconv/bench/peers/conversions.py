"""Masks from kernels and back, against an index that is ready, an outer product, dense exponentials, a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from retconv.bench.peers.rows import Row
from retconv.convert import kernel_to_mask, project
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON
from retconv.masks import DecayMask, GaussianMixtureMask, KernelTableMask, Mask

HEADS = 3
SHAPES = ((8, 8), (14, 14), (32, 32), (64, 64))


def rows() -> Iterator[Row]:
    """Every row of this part."""
    for shape in SHAPES:
        yield _gather(Grid(shape))
        yield _manhattan(Grid(shape))
    for shape in SHAPES[:3]:
        yield from _steps(Grid(shape))
    for shape in SHAPES[1:]:
        yield _projection(Grid(shape))


def _text(grid: Grid) -> str:
    return "×".join(map(str, grid.shape))


def _gather(grid: Grid) -> Row:
    kernel, index = torch.rand(HEADS, *grid.kernel_shape), grid.offset_index()
    mask, flat = kernel_to_mask(kernel, grid), index.flatten()
    return Row(
        f"kernel to mask, {_text(grid)}",
        partial(kernel_to_mask, kernel, grid),
        {
            "ready index": lambda: kernel.flatten(1)[:, index],
            "ready index, index_select": lambda: kernel.flatten(1).index_select(1, flat).view_as(mask),
        },
        {"copy": mask.clone},
    )


def powers(mask: DecayMask, grid: Grid) -> Tensor:
    """A Manhattan decay as a user writes it: the outer product of masks of each axis."""
    n, m = grid.shape
    near, far = (torch.arange(side).float() for side in (n, m))
    first = mask.gamma.float()[:, None, None] ** (near[:, None] - near).abs()
    last = mask.gamma.float()[:, None, None] ** (far[:, None] - far).abs()
    return (first[:, :, None, :, None] * last[:, None, :, None, :]).view(-1, grid.size, grid.size)


def exponentials(mask: GaussianMixtureMask, squared: Tensor) -> Tensor:
    """A Gaussian mixture as a user writes it, from squared distances that are ready."""
    variance = mask.sigma[..., None, None].square() + GAUSSIAN_EPSILON
    return (mask.alpha[..., None, None] * torch.exp(-squared / (2 * variance))).sum(dim=1)


def squared_distances(grid: Grid) -> Tensor:
    """``‖p_k − p_q‖²``, ``(N, N)``."""
    position = grid.coordinates().float()
    return torch.cdist(position, position, compute_mode="donot_use_mm_for_euclid_dist").square()


def _manhattan(grid: Grid) -> Row:
    mask = DecayMask(HEADS)
    dense = mask(grid)
    return Row(
        f"Manhattan mask, {_text(grid)}",
        partial(mask, grid),
        {"outer product": partial(powers, mask, grid)},
        {"copy": dense.clone},
    )


def _steps(grid: Grid) -> Iterator[Row]:
    """Forward and backward of masks that train."""
    squared, index = squared_distances(grid), grid.offset_index()
    upstream = torch.randn(HEADS, grid.size, grid.size)
    gaussian = GaussianMixtureMask(HEADS, generator=torch.Generator().manual_seed(0))
    decay, table = DecayMask(HEADS, learnable=True), KernelTableMask(grid, HEADS)
    weight = next(table.parameters())

    def step(mask: Mask, dense: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(dense(), list(mask.parameters()), upstream)

    yield Row(
        f"Gaussian mixture, forward + backward, {_text(grid)}",
        partial(step, gaussian, partial(gaussian, grid)),
        {"dense exponentials": partial(step, gaussian, partial(exponentials, gaussian, squared))},
        gradients=True,
    )
    yield Row(
        f"learnt Manhattan, forward + backward, {_text(grid)}",
        partial(step, decay, partial(decay, grid)),
        {"outer product": partial(step, decay, partial(powers, decay, grid))},
        gradients=True,
    )
    yield Row(
        f"kernel table, forward + backward, {_text(grid)}",
        partial(step, table, partial(table, grid)),
        {"ready index": partial(step, table, lambda: weight.flatten(1)[:, index])},
        gradients=True,
    )


def _projection(grid: Grid) -> Row:
    mask, index = torch.rand(HEADS, grid.size, grid.size), grid.offset_index().flatten()
    count = torch.bincount(index).float()

    def means() -> Tensor:
        total = torch.zeros(HEADS, len(count)).index_add_(1, index, mask.flatten(1))
        return (total / count).view(HEADS, *grid.kernel_shape)

    def with_residual() -> tuple[Tensor, Tensor]:
        kernel = means()
        difference = mask - kernel.flatten(1)[:, index].view_as(mask)
        return kernel, (difference.flatten(1).norm(dim=1) / mask.flatten(1).norm(dim=1)).double()

    return Row(
        f"projection with residual, {_text(grid)}",
        lambda: tuple(project(mask, grid)),
        {"index_add, and a gather": with_residual},
        {"index_add": means},
    )
