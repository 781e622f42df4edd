"""Decays: powers of γ of a distance."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.atlas.entry import Entry
from retconv.atlas.published.building import LINE, PLANE, offsets
from retconv.grid import Grid
from retconv.kernels import Decay, Exponentials, causal_decay, euclidean_alibi, gammas
from retconv.masks import Forms, MaskLike


def _raster(grid: Grid) -> Tensor:
    """``γ^(q − k)`` of places in raster order: on a plane too a function of the offset, ``δ_1 n_2 + δ_2``."""
    strides = torch.tensor([1, *reversed(grid.shape[1:])]).cumprod(0).flip(0).double()
    return causal_decay((offsets(grid) * strides).sum(dim=-1, keepdim=True), gammas("retnet_linspace", 2))


def _normalised(grid: Grid) -> Tensor:
    decay = Forms.of(Decay(gammas("retnet", 2), causal=True), grid).entries
    return decay / decay.sum(dim=-1, keepdim=True).sqrt()


def _euclidean(grid: Grid) -> Forms:
    return Forms.of_log(euclidean_alibi(offsets(grid), -gammas("rmt", 2).log()), grid)


def _rwkv(grid: Grid) -> Forms:
    decay, bonus = torch.tensor([[[0.05], [0.5]], [[0.3], [-0.2]]], dtype=torch.float64)
    delta = offsets(grid)[..., 0]
    return Forms.of_log(
        torch.where(delta == 0, bonus, (delta + 1) * decay).masked_fill(delta > 0, -torch.inf),
        grid,
    )


def _xpos(grid: Grid) -> MaskLike:
    """Pairs 0 and 16 of 32, each a head: one real part of one complex pole."""
    pair = torch.tensor([[0.0], [16.0]], dtype=torch.float64)
    zeta = ((pair / 32 + 0.4) / 1.4) ** (1 / 512)
    pole = torch.polar(zeta, 10000 ** (-pair / 32))
    return Forms.of(Exponentials(torch.ones_like(pole), pole), grid)


ENTRIES = [
    Entry(
        "retnet",
        "RetNet",
        "γ^(−δ) for δ ≤ 0, else 0",
        "Sun et al. 2023 (arXiv 2307.08621), eq. (5)",
        "retention",
        LINE,
        lambda grid: Decay(gammas("retnet", 2), causal=True),
    ),
    Entry(
        "retnet_normalised",
        "RetNet, normalised",
        "D / √(Σ_k D), D = γ^(q − k) for k ≤ q, else 0",
        "Sun et al. 2023 (arXiv 2307.08621), section 2.2, and RetNetRelPos of torchscale",
        "retention",
        LINE,
        _normalised,
    ),
    Entry(
        "vir",
        "ViR",
        "γ^(q − k) for k ≤ q in raster order, else 0: K[δ] = γ^(−δ_1 n_2 − δ_2)",
        "Hatamizadeh et al. 2023 (arXiv 2310.19731), and its code, with its γ, which has a softmax too; no class token",
        "retention",
        PLANE,
        _raster,
    ),
    Entry(
        "xpos",
        "xPos, one pair a head",
        "Re (ζ e^{iθ})^(−δ) = ζ^(−δ) cos θδ for δ ≤ 0, else 0",
        "Sun et al. 2022 (arXiv 2212.10554), section 3; the pair itself is turned by the complex pole",
        "retention",
        LINE,
        _xpos,
    ),
    Entry(
        "rwkv",
        "RWKV-4",
        "exp(u) at δ = 0, exp((δ + 1) w) for δ < 0, else 0",
        "Peng et al. 2023 (arXiv 2305.13048), the WKV operator; a head for each channel, scores depend on keys alone",
        "bias_logits",
        LINE,
        _rwkv,
    ),
    Entry(
        "two_sided",
        "two-sided decay",
        "γ^|δ|",
        "Fan et al. 2024 (arXiv 2309.11523), eq. (3)",
        "retention",
        LINE,
        lambda grid: Decay(gammas("rmt", 2)),
    ),
    Entry(
        "lion_d",
        "LION-D",
        "λ^|δ|, λ learnt, here σ(0) and σ(4)",
        "Afzal et al. 2025 (arXiv 2502.16249), LION-D; rows are then divided by the sum of scores times mask",
        "retention",
        LINE,
        lambda grid: Decay(torch.sigmoid(torch.tensor([0.0, 4.0], dtype=torch.float64))),
    ),
    Entry(
        "manhattan",
        "RMT",
        "γ^‖δ‖₁, γ_h = 1 − 2^(−2 − 4h/H)",
        "Fan et al. 2024 (arXiv 2309.11523), eq. (4)",
        "multiply_weights",
        PLANE,
        lambda grid: Decay(gammas("rmt", 2)),
    ),
    Entry(
        "manhattan_bias",
        "RMT, its code",
        "‖δ‖₁ log γ added to logits, γ_h = 1 − 2^(−2 − 4h/H)",
        "Fan et al. 2024, RelPos2d of the code of arXiv 2309.11523",
        "bias_logits",
        PLANE,
        lambda grid: Forms.of(Decay(gammas("rmt", 2)), grid),
    ),
    Entry(
        "euclidean",
        "EVT",
        "γ^‖δ‖₂",
        "Fan et al. 2026, EVT (arXiv 2604.18549), with the γ of RMT",
        "multiply_weights",
        PLANE,
        _euclidean,
    ),
]
