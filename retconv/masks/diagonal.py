"""The mask that hides a token from itself."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.tables import elsewhere
from retconv.masks.base import Mask


class OffDiagonalMask(Mask):
    """``M[q, k] = 1`` for k ≠ q, and 0 on the diagonal: the kernel ``1 − δ_0``, without parameters.

    With the placement ``bias_logits`` its logarithm, 0 or −∞, keeps every token from attending to itself, and the
    weights of the others are what they would be without it, renormalised. A grid of one token leaves nothing to attend.

    Args:
        heads: Number of heads.

    Source:
        Diagonal masking in locality self-attention, LSA: Lee et al. 2021 (arXiv 2112.13492), section 3.2, eq. (7).

    Example:
        >>> OffDiagonalMask(heads=1)(2).tolist()
        [[[0.0, 1.0], [1.0, 0.0]]]
    """

    _one: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__(heads)
        # A mask without parameters still has to follow its model's device.
        self.register_buffer("_one", torch.ones(()), persistent=False)

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``: 0 in the centre, 1 elsewhere."""
        kernel = elsewhere(Grid.of(grid).without_prefix(), self._one.device, self._made)
        return kernel.repeat(self.heads, *(1,) * kernel.ndim)

    def extra_repr(self) -> str:
        """Heads."""
        return f"heads={self.heads}"
