"""The mask as one Toeplitz pass along each axis, for kernels that are sums of outer products."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.convert import unfold
from retconv.grid import Grid
from retconv.kernels import Separable
from retconv.operators.columns import add_product

#: Up to how many columns the last axis is multiplied from the right, on axes from how many tokens on: a batch of narrow
#: products of long rows takes torch ten times as long as one matrix product, copies included.
FEW, LONG = 8, 32


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
        if len(x) == 1:
            return self._head(0, x[0])[None]
        return torch.stack([self._head(h, column) for h, column in enumerate(x)])

    def _head(self, head: int, x: Tensor) -> Tensor:
        """Sum over terms in place, so that one intermediate result is held whatever the rank."""
        y: Tensor | None = None
        for matrices in zip(*(m[head] for m in self.matrices), strict=True):
            z, before = x, 1
            for matrix in matrices[:-1]:
                z = z.reshape(before, len(matrix), -1)
                z = torch.mm(matrix, z[0])[None] if before == 1 else torch.bmm(matrix.expand(before, -1, -1), z)
                before *= len(matrix)
            if x.shape[1] <= FEW and self.grid.shape[-1] >= LONG:
                z = z.reshape(before, -1, x.shape[1]).mT @ matrices[-1].mT
                y = z.mT if y is None else y + z.mT
                continue
            last = matrices[-1].expand(before, -1, -1)
            z = z.reshape(before, last.shape[-1], -1)
            y = torch.bmm(last, z) if y is None else add_product(y, last, z)
        assert y is not None  # a Separable has at least one term
        return y.reshape(x.shape)
