"""A Gaussian for each query: its centre and its covariance are the query's own, as LocAt and its like have them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import check_real, compute_dtype


@dataclass(frozen=True)
class QueryGaussian:
    """One Gaussian of the offset for each query, ``log M[q, k] = −½ (δ − μ_q)ᵀ P_q (δ − μ_q)`` with P_q = Σ_q⁻¹.

    Where shift and precision are the same for all queries it is a kernel; else it varies from query to query, one
    window of a bank each (law 4).

    Attributes:
        shift: μ, ``(heads, N, D)`` or ``(batch, heads, N, D)``: the offset, in tokens, on which each query centres.
        precision: P, of shift's shape for one number an axis (axis-aligned), or with a further axis of D for a full
            matrix, of which the symmetric part acts; in 1 / tokens². Positive definite, it is Σ⁻¹ of a Gaussian.
        alpha: ``(heads, N)`` or ``(batch, heads, N)``, or None. If it is given, the logarithm is LocAt's,
            ``log M[q, k] = α_q exp(−½ (δ − μ_q)ᵀ P_q (δ − μ_q))``: the Gaussian is itself added to logits.

    Raises:
        ValueError: If shapes or dtypes disagree, or a tensor is not real and floating.

    Source:
        With alpha: Hajimiri et al. 2026, Locality-Attending Vision Transformer (arXiv 2603.04892), Gaussian-augmented
        attention, whose shift is 0 and covariance axis-aligned. Without: a Gaussian bias (Cordonnier et al. 2020, arXiv
        1911.03584, eq. 8) of which centre and width are the query's.

    Examples:
        >>> import torch
        >>> from retconv.grid import Grid
        >>> from retconv.kernels import QueryGaussian
        >>> gaussians = QueryGaussian(torch.zeros(1, 3, 1), torch.tensor([[[0.0], [2.0], [0.5]]]))
        >>> gaussians.log_entries(Grid(3))
        tensor([[[-0.0000, -0.0000, -0.0000],
                 [-1.0000, -0.0000, -1.0000],
                 [-1.0000, -0.2500, -0.0000]]])
    """

    shift: Tensor
    precision: Tensor
    alpha: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that shapes and dtypes belong together."""
        shift, precision, alpha = self.shift, self.precision, self.alpha
        given = [shift, precision] if alpha is None else [shift, precision, alpha]
        for x, name in zip(given, ("shift", "precision", "alpha"), strict=False):
            check_real(x, f"QueryGaussian: {name}")
        shapes = (shift.shape, (*shift.shape, shift.shape[-1])) if shift.ndim else ()
        right = shift.ndim in (3, 4) and precision.shape in shapes and 0 not in shift.shape
        right = right and (alpha is None or alpha.shape == shift.shape[:-1])
        if not right or not all(x.is_floating_point() and x.dtype == shift.dtype for x in given):
            of = ", ".join(f"{tuple(x.shape)} in {x.dtype}" for x in given)
            raise ValueError(
                "QueryGaussian: shift must be (heads, N, D) or (batch, heads, N, D), precision of its shape or with a "
                f"further axis of D, alpha without the last, all of one floating dtype, got {of}"
            )

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.shift.shape[-3]

    @property
    def full(self) -> bool:
        """Whether each precision is a matrix."""
        return self.precision.ndim > self.shift.ndim

    def require(self, grid: Grid) -> None:
        """Raise a ``ValueError`` unless there is one Gaussian for each token of the grid."""
        grid.require_open("QueryGaussian", "its offsets are those of a grid with a border, use grid.opened()")
        if tuple(self.shift.shape[-2:]) != (grid.size, grid.ndim):
            raise ValueError(
                f"{grid} has {grid.size} tokens on {grid.ndim} axes, the Gaussians are of {self.shift.shape[-2]} on "
                f"{self.shift.shape[-1]}: give one a token, with a shift along each axis"
            )

    def log_entries(self, grid: Grid) -> Tensor:
        """``log M``, ``(…, heads, N, N)`` in shift's dtype, computed in float64 and cast last."""
        return self._log(grid).to(self.shift.dtype)

    def entries(self, grid: Grid) -> Tensor:
        """The mask, ``(…, heads, N, N)`` in shift's dtype: one exp of the logarithm."""
        return self._log(grid).exp().to(self.shift.dtype)

    def _log(self, grid: Grid) -> Tensor:
        self.require(grid)
        grid.require_dense(math.prod(self.shift.shape[:-2]) * grid.ndim, self.shift.dtype)
        wide = compute_dtype(self.shift.device)
        place = grid.coordinates(self.shift.device).to(wide)
        offset = place[None, :] - place[:, None]  # shape: (N, N, D), key − query
        off = offset - self.shift.to(wide)[..., None, :]
        precision = self.precision.to(wide)
        pulled = off @ precision if self.full else off * precision[..., None, :]
        log = -0.5 * (pulled * off).sum(dim=-1)
        return log if self.alpha is None else self.alpha.to(wide)[..., None] * log.exp()
