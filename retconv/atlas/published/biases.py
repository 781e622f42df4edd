"""Biases by formula: what is added to logits, as the logarithm of what multiplies."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv import kernels
from retconv.atlas.entry import Entry
from retconv.atlas.published.building import LINE, PLANE, causal, normal, offsets
from retconv.grid import Grid
from retconv.masks import Forms

#: LookHere's fields of view as half-planes n · δ ≥ 0, rows then columns: up, down, left, right.
HALVES = [[[-1, 0]], [[1, 0]], [[0, -1]], [[0, 1]]]
#: Up and left, up and right, down and left, down and right.
QUARTERS = [[[-1, 0], [0, -1]], [[-1, 0], [0, 1]], [[1, 0], [0, -1]], [[1, 0], [0, 1]]]
#: The left halves of the triangles that open upwards and downwards, the upper ones of those to the left and the right.
EIGHTHS = [
    [[-1, 1], [-1, -1], [0, -1]],
    [[1, 1], [1, -1], [0, -1]],
    [[1, -1], [-1, -1], [-1, 0]],
    [[1, 1], [-1, 1], [-1, 0]],
]


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _alibi(grid: Grid) -> Forms:
    return Forms.of_log(causal(kernels.alibi(offsets(grid), kernels.slopes("alibi", 12)), grid), grid)


def _alibi_2d(grid: Grid) -> Forms:
    return Forms.of_log(kernels.euclidean_alibi(offsets(grid), kernels.slopes("alibi", 12)), grid)


def _kerple_log(grid: Grid) -> Forms:
    bias = kernels.kerple_log(offsets(grid), _numbers(0.4, 1.6), _numbers(0.9, 0.2))
    return Forms.of_log(causal(bias, grid), grid)


def _kerple_power(grid: Grid) -> Forms:
    bias = kernels.kerple_power(offsets(grid), _numbers(0.1, 0.8), _numbers(1.5, 0.4))
    return Forms.of_log(causal(bias, grid), grid)


def _sandwich(grid: Grid) -> Forms:
    bias = kernels.sandwich(offsets(grid), 8 * torch.arange(1, 5, dtype=torch.float64) / 4)
    return Forms.of_log(causal(bias, grid), grid)


def _fire(grid: Grid) -> Forms:
    weights = normal(11, 32), normal(12, 32), normal(13, 2, 32) / 32**0.5, normal(14, 2)
    bias = kernels.fire(grid, 0.1, 16.0, *weights)
    return Forms.of_log(bias.masked_fill(torch.ones(bias.shape[1:]).triu(1) == 1, -torch.inf), grid)


def _look_here(fields: list[list[list[int]]], grid: Grid) -> Forms:
    planes = torch.tensor(fields, dtype=torch.float64)
    return Forms.of_log(kernels.field_of_view(offsets(grid), _numbers(0.5, 0.5, 0.5, 0.5), planes), grid)


def _gpsa(grid: Grid) -> Forms:
    """The 3×3 neighbours of ConViT's start, a head for each."""
    center = torch.cartesian_prod(*[torch.arange(-1.0, 2.0).double()] * grid.ndim).reshape(-1, grid.ndim)
    return Forms.of_log(kernels.gpsa(offsets(grid), torch.ones(len(center), dtype=torch.float64), center), grid)


def _quadratic(grid: Grid) -> Forms:
    center = 2 * normal(15, 2, grid.ndim)
    return Forms.of_log(kernels.gpsa(offsets(grid), _numbers(1.0, 0.25), center), grid)


def _gaussian_bias(grid: Grid) -> Forms:
    return Forms.of_log(kernels.gaussian_bias(offsets(grid), _numbers(1.0, -1.0), _numbers(4.4, 6.8)), grid)


LOOK_HERE = "Fuller et al. 2024 (arXiv 2405.13985), and lookhere.py of its code; slope 1/2, the first of its slopes"
ENTRIES = [
    Entry(
        "alibi",
        "ALiBi",
        "exp(m δ) for δ ≤ 0, else 0; slopes of 12 heads",
        "Press et al. 2022 (arXiv 2108.12409), section 3, and get_slopes of its code",
        "bias_logits",
        LINE,
        _alibi,
    ),
    Entry(
        "alibi_2d",
        "2D-ALiBi of CROMA",
        "exp(−m ‖δ‖₂), slopes of ALiBi",
        "Fuller et al. 2023, CROMA (arXiv 2311.00566)",
        "bias_logits",
        PLANE,
        _alibi_2d,
    ),
    Entry(
        "look_here_180",
        "LookHere, halves",
        "exp(−m ‖δ‖₂) for n · δ ≥ 0, else 0",
        LOOK_HERE,
        "bias_logits",
        PLANE,
        lambda grid: _look_here(HALVES, grid),
    ),
    Entry(
        "look_here_90",
        "LookHere, quarters",
        "exp(−m ‖δ‖₂) in a quadrant, else 0",
        LOOK_HERE,
        "bias_logits",
        PLANE,
        lambda grid: _look_here(QUARTERS, grid),
    ),
    Entry(
        "look_here_45",
        "LookHere, eighths",
        "exp(−m ‖δ‖₂) in an eighth of the plane, else 0",
        LOOK_HERE,
        "bias_logits",
        PLANE,
        lambda grid: _look_here(EIGHTHS, grid),
    ),
    Entry(
        "kerple_log",
        "KERPLE, logarithmic",
        "(1 + r_2 |δ|)^(−r_1) for δ ≤ 0, else 0; r_1 from [0, 2], r_2 from [0, 1]",
        "Chi et al. 2022 (arXiv 2205.09921), section 4, and ParallelKerpleLog of its code",
        "bias_logits",
        LINE,
        _kerple_log,
    ),
    Entry(
        "kerple_power",
        "KERPLE, power",
        "exp(−r_1 |δ|^r_2) for δ ≤ 0, else 0; r_1 from [0, 1], r_2 from [0, 2]",
        "Chi et al. 2022 (arXiv 2205.09921), section 4, and ParallelKerplePower of its code",
        "bias_logits",
        LINE,
        _kerple_power,
    ),
    Entry(
        "sandwich",
        "Sandwich",
        "exp((H/8h) Σ_j cos(δ 10000^(−2j/128))) for δ ≤ 0, else 0; 4 heads",
        "Chi et al. 2023 (arXiv 2212.10356), section 5",
        "bias_logits",
        LINE,
        _sandwich,
    ),
    Entry(
        "fire",
        "FIRE",
        "exp(f(log(1 + c(q − k)) / log(1 + c max(q, L)))) for k ≤ q, else 0",
        "Li et al. 2024 (arXiv 2310.04418), and the code of its appendix; seeded f, c = 0.1, L = 16 where it has 512",
        "bias_logits",
        LINE,
        _fire,
    ),
    Entry(
        "gaussian_bias",
        "Gaussian attention bias",
        "exp(A² exp(−‖δ‖² / 2σ²))",
        "Kim et al. 2023 (arXiv 2305.04722), eqs. (2) and (3); |A| = 1, σ = 4.4 and 6.8, in the range of its table 1",
        "bias_logits",
        PLANE,
        _gaussian_bias,
    ),
    Entry(
        "gpsa",
        "ConViT's GPSA",
        "exp(−‖δ − Δ‖² + ‖Δ‖²), Δ among the 9 nearest offsets",
        "d'Ascoli et al. 2021 (arXiv 2103.10697), section 2, at its start; its positional half, before the gate",
        "bias_logits",
        PLANE,
        _gpsa,
    ),
    Entry(
        "quadratic",
        "quadratic encoding",
        "exp(−α(‖δ − Δ‖² − ‖Δ‖²)), Δ ~ N(0, 2²)",
        "Cordonnier et al. 2020 (arXiv 1911.03584), section 3; seeded Δ, α = 1 and 1/4",
        "bias_logits",
        PLANE,
        _quadratic,
    ),
]
