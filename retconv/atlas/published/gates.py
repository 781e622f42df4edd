"""Masks that read data: gates of tokens, and decays and Gaussians of tokens and queries, here of one fixed draw."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retconv.atlas.entry import Entry
from retconv.grid import Grid
from retconv.kernels import QueryGaussian
from retconv.masks import ForgetGate, Forms, LocAt, MaskLike, PolylineGate, SpatialDecay, SSDGate

LINE, PLANE = Grid(64), Grid((8, 8))
#: Features of a token, and of a query; heads.
DIM, HEADS = 8, 2


def drawn(*size: int, seed: int = 0) -> Tensor:
    """Standard normal numbers of a fixed seed, in float64."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(make: Callable[[], nn.Module], rate: float = 1.0) -> nn.Module:
    """A module in float64 with weights of a fixed draw that suit features of variance 1, and no bias.

    Where it starts at random, in a step and a rate, it starts in the middle: at a step of 0.01, and at the given rate.
    """
    with torch.random.fork_rng(devices=[]):  # what a module draws is overwritten, and nobody else's draws move
        module = make().double().requires_grad_(False)
    for seed, (name, parameter) in enumerate(module.named_parameters(), start=1):
        if name == "project.weight":
            parameter.copy_(drawn(*parameter.shape, seed=seed) / parameter.shape[1] ** 0.5)
        else:
            parameter.fill_({"project.bias": 0.0, "step_bias": math.log(math.expm1(0.01))}.get(name, math.log(rate)))
    return module


def fox() -> nn.Module:
    """Two forget gates."""
    return filled(lambda: ForgetGate(DIM, HEADS))


def ssd() -> nn.Module:
    """Two gates of Mamba-2."""
    return filled(lambda: SSDGate(DIM, HEADS), rate=8.5)


def ppma() -> nn.Module:
    """The gates of PPMA's two heads."""
    return filled(lambda: PolylineGate(DIM, HEADS), rate=1.05)


def sdt() -> nn.Module:
    """The decays of SDT's two heads."""
    return filled(lambda: SpatialDecay(DIM, HEADS))


def locat(grid: Grid) -> nn.Module:
    """LocAt for a grid."""
    return filled(lambda: LocAt(DIM, grid))


def of_tokens(module: Callable[[], nn.Module]) -> Callable[[Grid], MaskLike]:
    """The mask of one image or text of drawn tokens, without a batch."""
    return lambda grid: alone(module()(drawn(1, grid.length, DIM), grid), grid)


def alone(mask: MaskLike, grid: Grid) -> Forms:
    """The mask of a batch of one as one of heads."""
    forms = Forms.of(mask, grid)
    return Forms(grid, HEADS, {"entries": forms.entries[0], "log": forms.log.entries[0]})


def query_gaussian(grid: Grid, full: bool) -> QueryGaussian:
    """A shift of about a token and a covariance of about two squared tokens for each query."""
    shift = drawn(HEADS, grid.size, grid.ndim)
    if not full:
        return QueryGaussian(shift, 1 / (1 + drawn(*shift.shape, seed=1).square()))
    root = drawn(HEADS, grid.size, grid.ndim, grid.ndim, seed=1)
    return QueryGaussian(shift, torch.linalg.inv(torch.eye(grid.ndim, dtype=root.dtype) + root @ root.mT))


ENTRIES = [
    Entry(
        "fox",
        "FoX",
        "∏ sigmoid(wᵀ x_t + b) over k < t ≤ q, for k ≤ q, else 0",
        "Lin et al. 2025 (arXiv 2503.02130), section 3",
        "bias_logits",
        LINE,
        of_tokens(fox),
        reads="tokens",
    ),
    Entry(
        "ssd",
        "Mamba-2 (SSD)",
        "∏ exp(−exp(A) softplus(wᵀ x_t + b)) over k < t ≤ q, for k ≤ q, else 0",
        "Dao and Gu 2024, SSD (arXiv 2405.21060), section 3.2; Yang et al. 2024, GLA (arXiv 2312.06635), whose "
        "gates of each feature are one here; Mamba-2's start, in the middle of its ranges",
        "retention",
        LINE,
        of_tokens(ssd),
        reads="tokens",
    ),
    Entry(
        "ppma",
        "PPMA",
        "L + Lᵀ, L = ∏ α over the query's row to the key's column · ∏ β over that column to the key",
        "Zhao et al. 2025 (arXiv 2506.15940), eqs. (3), (4) and (10); its code adds log L and log Lᵀ in two attentions",
        "multiply_weights",
        PLANE,
        of_tokens(ppma),
        reads="tokens",
    ),
    Entry(
        "sdt",
        "SDT",
        "exp(−|½ (g_q + g_k) ‖δ‖₁|), g_t = log sigmoid(wᵀ x_t)",
        "Mao et al. 2025 (arXiv 2508.09525), spatial-content fusion, with its α = 1",
        "bias_logits",
        PLANE,
        of_tokens(sdt),
        reads="tokens",
    ),
    Entry(
        "locat",
        "LocAt",
        "exp(α_q exp(−½ Σ_d δ_d² / (v_qd + 0.1)))",
        "Hajimiri et al. 2026 (arXiv 2603.04892), Gaussian-augmented attention; its start but for drawn weights",
        "bias_logits",
        PLANE,
        lambda grid: alone(locat(grid)(drawn(1, HEADS, grid.length, DIM), grid), grid),
        reads="queries",
    ),
    Entry(
        "query_gaussian",
        "Gaussian of each query",
        "exp(−½ (δ − μ_q)ᵀ Σ_q⁻¹ (δ − μ_q))",
        "a Gaussian bias (Cordonnier et al. 2020, arXiv 1911.03584) whose shift and full covariance are the query's",
        "bias_logits",
        PLANE,
        lambda grid: query_gaussian(grid, full=True),
        reads="queries",
    ),
    Entry(
        "query_gaussian_axes",
        "Gaussian of each query, along axes",
        "exp(−½ Σ_d (δ_d − μ_qd)² / σ_qd²)",
        "a Gaussian bias (Cordonnier et al. 2020, arXiv 1911.03584) whose shift and widths are the query's",
        "bias_logits",
        PLANE,
        lambda grid: query_gaussian(grid, full=False),
        reads="queries",
    ),
]
