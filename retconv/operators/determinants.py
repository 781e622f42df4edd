"""Logarithms of determinants of masks: by closed form, axis by axis, or of a small mask by elimination."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Decay, Separable
from retconv.operators.direct import DENSE
from retconv.operators.residuals import SolveError
from retconv.watching import is_visible

#: By how much rounding may change a logarithm of a determinant that is given.
DOUBT = 0.1


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
        signs, logs = _eliminated(kernel_to_mask(factor[:, 0], line), times)
        total, sign = total + times * logs, sign * (signs**times)
    return _positive(total, sign)


def dense_logdet(kernel: Tensor, grid: Grid) -> Tensor:
    """By the LU factors of the dense mask.

    Raises:
        ValueError: If the mask has too many tokens.
        SolveError: If it is singular to working precision.
    """
    if grid.size > DENSE:
        raise ValueError(
            f"logdet: there is a closed form of decays, and elimination up to {DENSE} tokens, of one outer product "
            f"along each axis, got a kernel on {grid} with N = {grid.size}: give the decay or the factors instead of "
            "the kernel, take a smaller grid, or torch.linalg.slogdet(op.to_dense())"
        )
    signs, logs = _eliminated(kernel_to_mask(kernel, grid))
    return _positive(logs, signs)


def _eliminated(mask: Tensor, times: int = 1) -> tuple[Tensor, Tensor]:
    """Signs and logarithms of determinants by elimination, unless rounding decides them.

    ``d log det M = tr(M⁻¹ dM)``, so that entries rounded by ε change it by up to ``ε Σ |M⁻¹|ᵀ ∘ |M|``. Of a triangular
    mask the determinant is that of the diagonal, whatever that number.

    Args:
        mask: ``(heads, n, n)``.
        times: How often the logarithm is counted.
    """
    signs, logs = torch.linalg.slogdet(mask)
    plain = mask.detach()
    inverse = torch.linalg.inv_ex(plain)[0]
    doubt = times * torch.finfo(mask.dtype).eps * (inverse.mT.abs() * plain.abs()).sum(dim=(1, 2))
    diagonal = plain.diagonal(dim1=1, dim2=2)
    triangular = ~plain.tril(-1).flatten(1).any(dim=1) | ~plain.triu(1).flatten(1).any(dim=1)
    # Gradients stay those of elimination: a triangular mask may learn what is 0 now.
    exact = logs + (diagonal.abs().log().sum(dim=1) - logs.detach())
    signs = torch.where(triangular, diagonal.sign().prod(dim=1), signs)
    # A pivot of exactly 0 makes the determinant 0, and the inverse no numbers.
    known = triangular | (signs == 0) | (doubt <= DOUBT)
    if is_visible(signs) and not bool(known.all()):
        head = int(known.int().argmin())
        raise SolveError(
            f"logdet: the mask of head {head} is singular to working precision: rounding its entries changes log det M "
            f"by up to {float(doubt[head]):.2g}, and may change its sign; add to the kernel's entry at offset 0",
            condition=float("inf"),
        )
    return signs, torch.where(triangular, exact, torch.where(known, logs, torch.nan))


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
