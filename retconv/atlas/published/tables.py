"""Masks whose numbers are learnt: tables, buckets, small networks and mixtures, with a seed for training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv import kernels
from retconv.atlas.entry import Entry
from retconv.atlas.published.building import LINE, PLANE, causal, normal, offsets
from retconv.grid import Grid
from retconv.masks import Forms, GaussianMixtureMask, MaskLike


def _gaussians(grid: Grid) -> Forms:
    return _mixture(10 + 10 * normal(21, 2, 5), 2 * normal(22, 2, 5), grid)


def _one_gaussian(grid: Grid) -> Forms:
    sigma, alpha = torch.tensor([[2.0], [5.0]]).double(), torch.ones(2, 1, dtype=torch.float64)
    return _mixture(sigma, alpha, grid)


def _mixture(sigma: Tensor, alpha: Tensor, grid: Grid) -> Forms:
    return GaussianMixtureMask.from_parameters(sigma, alpha).requires_grad_(False).forms(grid)


def _elm(grid: Grid) -> MaskLike:
    return normal(23, 2, grid.size, grid.size)


def _t5(causally: bool, grid: Grid) -> Forms:
    bias = kernels.t5(grid.offsets(), normal(24, 32, 2), causal=causally)
    return Forms.of_log(causal(bias, grid) if causally else bias, grid)


def _swin(grid: Grid) -> Forms:
    table = 0.02 * normal(25, math.prod(grid.kernel_shape), 2)
    return Forms.of_log(kernels.swin_table(table, grid), grid)


def _swin_v2(grid: Grid) -> Forms:
    weights = normal(26, 512, grid.ndim), normal(27, 512), normal(28, 2, 512) / 512**0.5
    return Forms.of_log(kernels.swin_v2(offsets(grid), *weights, window=grid), grid)


def _beit(grid: Grid) -> Forms:
    table = normal(29, math.prod(grid.kernel_shape) + 3, 2)
    return Forms.of_log(kernels.beit_table(table, grid)[0], grid)


ENTRIES = [
    Entry(
        "elm",
        "ELM",
        "a free matrix",
        "Li and Zhang 2023 (arXiv 2309.05375), section 3.2; seeded normal, where its code starts with zeros",
        "multiply_logits",
        PLANE,
        _elm,
    ),
    Entry(
        "gmm",
        "GMM",
        "Σ_k α_k exp(−‖δ‖² / 2(σ_k² + 1e-5)), 5 Gaussians",
        "Li and Zhang 2023 (arXiv 2309.05375), and its code, at its start: σ ~ 10 + 10 N(0, 1), α ~ 2 N(0, 1)",
        "multiply_logits",
        PLANE,
        _gaussians,
    ),
    Entry(
        "gaussian",
        "GMM of one Gaussian",
        "exp(−‖δ‖² / 2(σ² + 1e-5)), σ = 2 and 5",
        "Li and Zhang 2023 (arXiv 2309.05375), with one component and α = 1",
        "multiply_logits",
        PLANE,
        _one_gaussian,
    ),
    Entry(
        "t5",
        "T5, encoder",
        "exp(b[bucket(δ)]), 32 buckets up to 128 tokens, both directions",
        "Raffel et al. 2020 (arXiv 1910.10683), section 2.1, and its code; seeded b ~ N(0, 1)",
        "bias_logits",
        LINE,
        lambda grid: _t5(False, grid),
    ),
    Entry(
        "t5_causal",
        "T5, decoder",
        "exp(b[bucket(δ)]) for δ ≤ 0, else 0; 32 buckets up to 128 tokens",
        "Raffel et al. 2020 (arXiv 1910.10683), section 2.1, and its code; seeded b ~ N(0, 1)",
        "bias_logits",
        LINE,
        lambda grid: _t5(True, grid),
    ),
    Entry(
        "swin",
        "Swin's table",
        "exp(B[−δ])",
        "Liu et al. 2021 (arXiv 2103.14030), eq. (4), on one window; at its start, B ~ 0.02 N(0, 1)",
        "bias_logits",
        PLANE,
        _swin,
    ),
    Entry(
        "swin_v2",
        "Swin v2's continuous bias",
        "exp(16 σ(f(sign(δ) log_8(1 + 8|δ| / (w − 1))))), f an MLP",
        "Liu et al. 2022 (arXiv 2111.09883), section 3.3, and its code, on one window; seeded f; it takes query − key",
        "bias_logits",
        PLANE,
        _swin_v2,
    ),
    Entry(
        "beit",
        "BEiT's table",
        "exp(B[−δ]) among patches",
        "Bao et al. 2022 (arXiv 2106.08254), and its code; seeded B; the class token's three numbers are left out",
        "bias_logits",
        PLANE,
        _beit,
    ),
]
