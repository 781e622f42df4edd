"""The mask of a plain model whose attention is watched or worked on."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.masks import Mask


class NeutralMask(Mask):
    """1 everywhere, and nothing to learn: what a plain model is given for as long as its attention is worked on.

    With it the scores are the same to the bit, and with them the output of timm's plain attention; fused attention sums
    in another order.
    """

    def __init__(self, heads: int = 1) -> None:
        super().__init__(heads)
        self.register_buffer("one", torch.ones(()), persistent=False)

    def kernel(self, grid: GridLike) -> Tensor:
        """Ones, ``(heads, 2 n_1 − 1, …)``."""
        one: Tensor = self.get_buffer("one")
        return torch.ones_like(one).expand(self.heads, *Grid.of(grid).kernel_shape)
