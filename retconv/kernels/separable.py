"""Kernels that are sums of outer products, one factor per axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.kernels.parameters import check_real
from retconv.precision import as_written


@dataclass(frozen=True)
class Separable:
    """A kernel as a sum of outer products: ``K[δ] = Σ_r f_{r,1}[δ_1] · … · f_{r,D}[δ_D]``.

    The mask of such a kernel is a sum of Kronecker products of Toeplitz matrices, one per axis (law 5).

    Attributes:
        factors: One tensor per axis, ``(heads, rank, 2 n_d − 1)``: ``factors[d][h, r]`` is f_{r,d} of head h.

    Example:
        >>> box = torch.tensor([[[1.0, 1.0, 0.0]]])  # (heads, rank, 2n − 1), one tensor for each axis
        >>> Separable((box, box)).kernel().tolist()
        [[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    """

    factors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Check that the factors belong together."""
        shapes = [tuple(f.shape) for f in self.factors]
        wrong = any(len(s) != 3 or s[:2] != shapes[0][:2] or s[1] < 1 or s[2] % 2 == 0 for s in shapes)
        if not 1 <= len(shapes) <= 3 or wrong:
            raise ValueError(f"Separable: factors must be (heads, rank, odd), one per axis, rank ≥ 1, got {shapes}")
        for factor in self.factors:
            check_real(factor, "Separable: factor")

    @property
    def rank(self) -> int:
        """Number of outer products, an upper bound of the mask's Kronecker rank."""
        return self.factors[0].shape[1]

    def kernel(self) -> Tensor:
        """The kernel table ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``."""
        axes = "xyz"[: len(self.factors)]
        with as_written(self.factors[0].device):
            return torch.einsum(",".join(f"hr{a}" for a in axes) + f"->h{axes}", *self.factors)

    def part(self, heads: slice) -> Separable:
        """The kernel of some heads."""
        return Separable(tuple(factor[heads] for factor in self.factors))
