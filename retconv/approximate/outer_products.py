"""A kernel as a sum of few outer products, one factor per axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.boundary import check_choice, check_count, check_table
from retconv.approximate.certificate import Approximation, certify, double
from retconv.kernels import Separable


@dataclass(frozen=True, repr=False)
class Separation(Approximation):
    """A kernel as a sum of outer products.

    Attributes:
        factors: The factors, in the kernel's dtype; ``kernel`` is ``factors.kernel()``, and ``retconv.operator`` runs
            them axis by axis. Heads of lower rank are filled up with factors that are 0.
        rank: Outer products of each head; int64 ``(heads,)`` on the CPU.

    Example:
        >>> kernel = retconv.DecayMask(heads=1).kernel(retconv.Grid((4, 4)))
        >>> retconv.approximate.separate(kernel, rank=1).relative.item() < 1e-6  # law 8
        True
    """

    factors: Separable
    rank: Tensor


@host()
def separate(kernel: Tensor, *, rank: int | None = None, tolerance: float | None = None) -> Separation:
    """Approximate a kernel by a sum of outer products, ``K[δ] ≈ Σ_r f_{r,1}[δ_1] ⋯ f_{r,D}[δ_D]``.

    On two axes by the singular value decomposition of the table, which leaves the least ℓ2 distance of all sums of
    that rank (Eckart and Young 1936); the mask is then a sum of as many Kronecker products (law 5). On three axes by a
    singular value decomposition along one axis and then of each of its right vectors as a matrix: a higher-order SVD
    with orthogonal terms, of which the heaviest are kept, so that the squared ℓ2 error is the sum of the squared
    weights left out. The first axis is the one that does best for each head. A mixture of R Gaussians has rank R on two
    axes, and up to R² here on three, where the least rank is hard to find.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        rank: Outer products for each head, at most as many as the kernel has.
        tolerance: Instead of a rank, the largest relative certificate; each head gets the first of these ranks that
            reaches it. The certificate is of the ℓ1 norm, in which other outer products may do with fewer.

    Returns:
        The sum of outer products, its certificate, and the factors. Not differentiable.

    Raises:
        ValueError: If not exactly one of rank and tolerance is given, either is out of range, the kernel is not a real
            finite table, or the tolerance is below the rounding of its dtype.

    Example:
        >>> kernel = retconv.DecayMask(heads=1, metric="euclidean").kernel(retconv.Grid((14, 14)))
        >>> separate(kernel, tolerance=0.01).rank.tolist()
        [4]
    """
    check_table(kernel, "separate")
    check_choice("separate", "rank", rank, tolerance)
    if rank is not None:
        check_count("separate", "rank", rank)
    heads = [_head(head, rank, tolerance) for head in kernel]
    ranks = [len(factors[0]) for factors in heads]
    joined = tuple(_fill([factors[d] for factors in heads], max(ranks)) for d in range(kernel.ndim - 1))
    factors = Separable(tuple(f.to(kernel.device) for f in joined))
    return Separation(**certify(kernel, factors.kernel()), factors=factors, rank=torch.tensor(ranks))


def _head(table: Tensor, rank: int | None, tolerance: float | None) -> list[Tensor]:
    """Factors ``(rank, side)`` of one head in the table's dtype, from the best of all first axes."""
    best: list[Tensor] | None = None
    least = float("inf")
    # Two axes are alike to a singular value decomposition, one axis is its own factor.
    for first in range(table.ndim if table.ndim == 3 else 1):
        terms = [factor.to(table.dtype) for factor in _terms(double(table), first)]
        for r in range(1 if rank is None else min(rank, len(terms[0])), len(terms[0]) + 1):
            factors = [factor[:r] for factor in terms]
            kernel = Separable(tuple(factor[None] for factor in factors)).kernel()
            relative = float(certify(table[None].to(kernel.device), kernel)["relative"])
            if tolerance is None:
                if relative < least or best is None:
                    best, least = factors, relative
                break
            # Filled up with zeros, sums may run in another order: rounding must not lift them over the tolerance.
            if relative <= tolerance * (1 - 1e-9):
                if best is None or r < len(best[0]):
                    best = factors
                break
            least = min(least, relative)
    if best is None:
        raise ValueError(
            f"separate: tolerance {tolerance:g} is below the rounding of {table.dtype}, all outer products together "
            f"leave {least:.3g}: give a larger tolerance, or the kernel in float64"
        )
    return best


def _terms(table: Tensor, first: int) -> list[Tensor]:
    """All orthogonal terms of a float64 table, heaviest first: one ``(terms, side)`` for each axis."""
    if table.ndim == 1:
        return [table[None]]
    moved = table.movedim(first, 0)
    left, values, right = torch.linalg.svd(moved.flatten(1), full_matrices=False)
    if table.ndim == 2:
        return _balanced(values, [left.mT, right])
    # Each right vector, with its weight, is a matrix of the two other axes.
    inner_left, inner_values, inner_right = torch.linalg.svd(
        values[:, None, None] * right.reshape(-1, *moved.shape[1:]), full_matrices=False
    )
    count = inner_values.shape[1]
    factors = [left.mT.repeat_interleave(count, dim=0), inner_left.mT.flatten(0, 1), inner_right.flatten(0, 1)]
    factors.insert(first, factors.pop(0))
    return _balanced(inner_values.flatten(), factors)


def _balanced(weights: Tensor, factors: list[Tensor]) -> list[Tensor]:
    """Sort by weight, share each weight among its factors, and let the largest entries of the first factors be > 0."""
    order = weights.argsort(descending=True, stable=True)
    share = weights[order, None] ** (1 / len(factors))
    factors = [share * factor[order] for factor in factors]
    sign = factors[0].gather(1, factors[0].abs().argmax(dim=1, keepdim=True)).sign()
    # A term of weight 0 has no sign.
    sign = torch.where(sign == 0, 1.0, sign)
    return [sign * factors[0], sign * factors[1], *factors[2:]]


def _fill(rows: list[Tensor], rank: int) -> Tensor:
    """Stack the factors of all heads, ``(heads, rank, side)``."""
    return torch.stack([torch.nn.functional.pad(row, (0, 0, 0, rank - len(row))) for row in rows])
