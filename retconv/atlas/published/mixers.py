"""Masks that mix tokens by themselves or without a softmax: free kernels, waves, poles, pooling, Fourier matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv import kernels
from retconv.atlas.entry import Entry
from retconv.atlas.published.building import LINE, PLANE, TORUS, normal, offsets
from retconv.grid import Grid
from retconv.kernels import Exponentials
from retconv.masks import Forms, MaskLike


def _tnn(grid: Grid) -> Tensor:
    decay = kernels.two_sided_decay(offsets(grid), torch.tensor([0.99, 0.9], dtype=torch.float64))
    return normal(31, 2, *grid.kernel_shape) * decay


def _lkca(grid: Grid) -> Tensor:
    return normal(32, 2, *grid.kernel_shape)


def _circulant(grid: Grid) -> Tensor:
    first = torch.softmax(normal(33, 2, grid.size), dim=-1).reshape(2, *grid.shape)  # offset 0 first
    return first.roll(grid.center, tuple(range(1, first.ndim)))


def _rope(grid: Grid) -> Tensor:
    powers = torch.arange(32, dtype=torch.float64) / 32
    return kernels.rotary(offsets(grid), 10000 ** -powers[None, :, None])


def _axial_rope(grid: Grid) -> Tensor:
    """32 pairs, half of them for each axis."""
    theta = 100 ** (-torch.arange(16, dtype=torch.float64) / 16)
    return kernels.rotary(offsets(grid), torch.block_diag(theta[:, None], theta[:, None])[None])


def _mega(grid: Grid) -> MaskLike:
    """``y_t = α β x_t + (1 − α δ) y_{t−1}`` in 16 dimensions, summed with weights η."""
    rates = torch.sigmoid(normal(34, 2, 2, 16))
    weights = rates[0] * normal(35, 2, 16) * normal(36, 2, 16) / 4
    return Forms.of(Exponentials(weights + 0j, 1 - rates[0] * rates[1] + 0j), grid)


def _s4d(grid: Grid) -> MaskLike:
    """16 states of real part −1/2, steps of 0.01 and 0.1, held at zero order, B = 1."""
    rate = torch.complex(torch.full((16,), -0.5).double(), math.pi * torch.arange(16).double())
    step = torch.tensor([[0.01], [0.1]], dtype=torch.float64)
    read = torch.view_as_complex(normal(37, 2, 16, 2)) / 2**0.5
    pole = torch.exp(rate * step)
    return Forms.of(Exponentials(2 * read * (pole - 1) / rate, pole), grid)


def _fourier(grid: Grid) -> Tensor:
    """The angle is reduced in integers: ``q k mod n`` turns of 1/n."""
    place = torch.arange(grid.size)
    turns = (place[:, None] * place) % grid.size
    return torch.cos(2 * math.pi * turns.double() / grid.size)[None]


def _pool(grid: Grid) -> Tensor:
    near = kernels.window(offsets(grid), 1).double()
    seen = Forms.of(near, grid).entries
    return seen / seen.sum(dim=-1, keepdim=True) - torch.eye(grid.size, dtype=torch.float64)


ENTRIES = [
    Entry(
        "tnn",
        "TNN",
        "λ^|δ| t[δ]",
        "Qin et al. 2023 (arXiv 2305.04749), relative coefficients with exponential decay; seeded t, λ = 0.99 and 0.9",
        "convolution",
        LINE,
        _tnn,
    ),
    Entry(
        "lkca",
        "LKCA",
        "a free kernel",
        "Li et al. 2024 (arXiv 2401.05738), one large kernel over the whole grid; seeded",
        "convolution",
        PLANE,
        _lkca,
    ),
    Entry(
        "circulant",
        "circulant attention",
        "c[(k − q) mod n]",
        "Yamada 2025, CAT (arXiv 2504.06704); c is a softmax of what it makes from data, here of seeded numbers",
        "convolution",
        TORUS,
        _circulant,
    ),
    Entry(
        "cosformer",
        "cosFormer",
        "cos(π δ / 2M), M the number of tokens",
        "Qin et al. 2022 (arXiv 2202.08791), and its code; rows are then divided by the sum of scores times mask",
        "retention",
        LINE,
        lambda grid: kernels.cosformer(offsets(grid), torch.tensor([float(grid.size)]).double()),
    ),
    Entry(
        "rope",
        "RoPE alone",
        "(1/32) Σ_j cos(δ 10000^(−j/32))",
        "Su et al. 2021 (arXiv 2104.09864), section 3.4.3: what is left of the pairs' e^{iθδ} if queries equal keys",
        "retention",
        LINE,
        _rope,
    ),
    Entry(
        "axial_rope",
        "axial RoPE alone",
        "(1/32) Σ_j (cos θ_j δ_1 + cos θ_j δ_2), θ_j = 100^(−j/16)",
        "Heo et al. 2024 (arXiv 2403.13298), axial frequencies: what is left if queries equal keys",
        "retention",
        PLANE,
        _axial_rope,
    ),
    Entry(
        "mega",
        "MEGA's moving average",
        "Σ_j η_j α_j β_j (1 − α_j δ_j)^(−δ) for δ ≤ 0, else 0",
        "Ma et al. 2023 (arXiv 2209.10655), damped exponential moving average of 16 dimensions; seeded",
        "convolution",
        LINE,
        _mega,
    ),
    Entry(
        "s4d",
        "S4D-Lin",
        "2 Re Σ_n C_n (e^{aΔ} − 1) / a · e^{−aΔδ}, a = −1/2 + iπn, for δ ≤ 0, else 0",
        "Gu et al. 2022 (arXiv 2206.11893), S4D-Lin held at zero order; seeded C, Δ = 0.01 and 0.1",
        "convolution",
        LINE,
        _s4d,
    ),
    Entry(
        "fnet",
        "FNet",
        "cos(2π q k / N)",
        "Lee-Thorp et al. 2021 (arXiv 2105.03824), the real part along the tokens",
        "convolution",
        LINE,
        _fourier,
    ),
    Entry(
        "poolformer",
        "PoolFormer",
        "1 / |keys within 1| for max_d |δ_d| ≤ 1, less 1 at δ = 0",
        "Yu et al. 2022 (arXiv 2111.11418), 3 × 3; its code divides by the keys that there are at the border",
        "convolution",
        PLANE,
        _pool,
    ),
]
