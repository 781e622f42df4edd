"""Logarithms of determinants of masks: by closed form, axis by axis, or of a small mask by elimination."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Decay, Separable
from retconv.operators.direct import DENSE
from retconv.operators.residuals import SolveError, is_visible


def decay_logdet(decay: Decay, grid: Grid) -> Tensor:
    """``Σ_d (n_d − 1) (N / n_d) log(1 − γ²)``, of a causal decay 0: ``(heads,)`` in gamma's dtype."""
    if decay.causal:
        return decay.gamma * 0
    times = sum((n - 1) * (grid.size // n) for n in grid.shape)
    # log(1 − γ) + log(1 + γ) keeps the digits that 1 − γ² would lose near 1.
    return times * (torch.log1p(-decay.gamma) + torch.log1p(decay.gamma)) if times else decay.gamma * 0


def separable_logdet(factors: Separable, grid: Grid) -> Tensor:
    """``Σ_d (N / n_d) log det T_d`` of one outer product."""
    total, sign = factors.factors[0].new_zeros(1), factors.factors[0].new_ones(1)
    for factor, n in zip(factors.factors, grid.shape, strict=True):
        line, times = Grid(n), grid.size // n
        signs, logs = torch.linalg.slogdet(kernel_to_mask(factor[:, 0], line))
        total, sign = total + times * logs, sign * (signs**times)
    return _positive(total, sign)


def dense_logdet(kernel: Tensor, grid: Grid) -> Tensor:
    """By the LU factors of the dense mask.

    Raises:
        ValueError: If the mask has too many tokens.
    """
    if grid.size > DENSE:
        raise ValueError(
            f"logdet: there is a closed form of decays, and elimination up to {DENSE} tokens, of one outer product "
            f"along each axis, got a kernel on {grid} with N = {grid.size}: give the decay or the factors instead of "
            "the kernel, take a smaller grid, or torch.linalg.slogdet(op.to_dense())"
        )
    signs, logs = torch.linalg.slogdet(kernel_to_mask(kernel, grid))
    return _positive(logs, signs)


def _positive(logs: Tensor, signs: Tensor) -> Tensor:
    """The logarithms, NaN of what is not positive; where values are not hidden that is refused instead."""
    if is_visible(signs) and not bool((signs > 0).all()):
        head = int((signs > 0).int().argmin())
        kind = "0" if float(signs[head]) == 0 else f"−exp({float(logs[head]):.6g})"
        raise SolveError(
            f"logdet: the determinant of head {head} is {kind}, which has no real logarithm: "
            "torch.linalg.slogdet(op.to_dense()) gives sign and magnitude"
        )
    return torch.where(signs > 0, logs, torch.nan)
