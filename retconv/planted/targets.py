"""What is planted: kernels, masks that vary in space, and noisy samples of what they do to white tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from retconv.attention import convolution
from retconv.grid import Grid
from retconv.kernels import manhattan_decay
from retconv.masks import GaussianMixtureMask

#: Heads of every planted mask; they differ.
HEADS = 2
#: Standard deviation of the noise on the targets; tokens have 1.
NOISE = 0.5
#: The planted kernels of ``recovery``.
PLANTED = ("decay", "mixture", "free")


class Samples(NamedTuple):
    """White tokens and noisy targets, both ``(1, heads, N, n)``: each of the n channels is a sample."""

    x: Tensor
    y: Tensor
    n: int


def planted_kernel(name: str, grid: Grid) -> Tensor:
    """A kernel ``(2, 2 n_1 − 1, …)`` in float64, different in its two heads.

    ``decay``: ``γ^|δ|₁`` with γ = 0.4, 0.7. ``mixture``: a wide Gaussian less a narrow one, and the sum of two.
    ``free``: standard normal entries under ``0.7^|δ|₁``, always the same ones: no family but the table holds it.
    """
    if name == "decay":
        return manhattan_decay(grid.offsets(), torch.tensor([0.4, 0.7], dtype=torch.float64))
    if name == "mixture":
        sigma = torch.tensor([[0.5, 2.0], [1.0, 3.0]], dtype=torch.float64)
        alpha = torch.tensor([[-0.8, 0.6], [0.7, 0.3]], dtype=torch.float64)
        return GaussianMixtureMask.from_parameters(sigma, alpha).kernel(grid).detach()
    envelope = manhattan_decay(grid.offsets(), torch.tensor([0.7, 0.7], dtype=torch.float64))
    return torch.randn(envelope.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * envelope


def varying_mask(grid: Grid, amount: float) -> Tensor:
    """A mask ``(2, N, N)`` in float64 whose kernel widens from one side of the grid to the other.

    ``M[q, k] = exp(−‖k − q‖² / 2σ_q²)`` with ``σ_q = 1.2 · 2^(amount · u_q)`` in head 0 and ``0.5^(|k − q|₁ / w_q)``
    with ``w_q = 2^(amount · u_q)`` in head 1; u runs from −1 to 1 along the last axis in head 0, the first in head 1.

    Args:
        grid: The grid, every axis of at least two tokens.
        amount: 0 is a convolution; at 1 the width grows fourfold across the grid.
    """
    where = grid.coordinates().double()
    u = 2 * where / (torch.tensor(grid.shape) - 1) - 1
    offset = where[None] - where[:, None]
    squared, city = offset.square().sum(-1), offset.abs().sum(-1)
    sigma, width = 1.2 * torch.exp2(amount * u[:, -1:]), torch.exp2(amount * u[:, :1])
    return torch.stack([torch.exp(-squared / (2 * sigma**2)), 0.5 ** (city / width)])


def samples(mask: Tensor, grid: Grid, n: int, generator: torch.Generator, noise: float = NOISE) -> Samples:
    """White tokens x and targets ``y = M x + noise``, by the placement ``convolution``."""
    heads = mask.shape[0]
    x = torch.randn(1, heads, grid.size, n, dtype=torch.float64, generator=generator)
    y = convolution(x, x, x, mask, grid, backend="reference")
    return Samples(x, y + noise * torch.randn(y.shape, dtype=y.dtype, generator=generator), n)


def compress(data: Samples) -> Samples:
    """At most 2N columns on which every mask has the same squared error: the triangle of a QR decomposition.

    ``[x; y] = Rᵀ Qᵀ`` and Q has orthonormal columns, so ``‖y − M x‖`` is the same with the rows of ``Rᵀ``.
    """
    both = torch.cat([data.x, data.y], dim=-2)
    if data.n <= both.shape[-2]:
        return data
    x, y = torch.linalg.qr(both.mT, mode="r").R.mT.chunk(2, dim=-2)
    return Samples(x, y, data.n)
