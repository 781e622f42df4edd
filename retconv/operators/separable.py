"""The mask as one Toeplitz pass along each axis, for kernels that are sums of outer products."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.convert import unfold
from retconv.grid import Grid
from retconv.kernels import Separable
from retconv.operators.blocks import left


class SeparableProduct:
    """``M @ x = Σ_r (T_{r,1} ⊗ … ⊗ T_{r,D}) x`` (law 5), one Toeplitz matrix product for each axis and term.

    Args:
        factors: The kernel as a sum of outer products.
        grid: The grid.
    """

    def __init__(self, factors: Separable, grid: Grid) -> None:
        self.grid = grid
        # shape: (heads, rank, n_d, n_d) for each axis
        self.matrices = [unfold(f, (n,)) for f, n in zip(factors.factors, grid.shape, strict=True)]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        heads, _, columns = x.shape
        first, *others = self.matrices
        rank, n = first.shape[1], first.shape[2]
        # All terms of the first axis in one product: (heads, rank · n_1, n_1) @ (heads, n_1, …).
        y = torch.bmm(first.reshape(heads, rank * n, n), x.reshape(heads, n, -1))
        before = n
        for axis, matrix in enumerate(others, start=1):
            n = matrix.shape[-1]
            if axis == self.grid.ndim - 1:
                # The last axis sums over terms inside its product: (n_D, rank · n_D) @ (rank · n_D, columns).
                y = y.reshape(heads, rank, before, n, columns).transpose(1, 2).reshape(heads, before, rank * n, columns)
                return left(matrix.transpose(1, 2).reshape(heads, n, rank * n), y).reshape(x.shape)
            y = left(matrix.flatten(0, 1), y.reshape(heads * rank, before, n, -1))
            before *= n
        return y.reshape(heads, rank, -1, columns).sum(dim=1)
