"""The mask of a window, outside of which nothing is seen."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels import Separable
from retconv.kernels.parameters import check
from retconv.kernels.tables import offsets
from retconv.kernels.windows import within
from retconv.masks.base import Mask


class WindowMask(Mask):
    """``M[q, k] = 1`` where ``max_d |δ_d| ≤ radius · dilation`` and dilation divides each δ_d, else 0; no parameters.

    With the placement ``bias_logits`` its logarithm, 0 or −∞, hides every key outside the window. A placement that
    multiplies logits leaves those keys a score of 0, which is no hiding.

    Args:
        heads: Number of heads.
        radius: At least 0, in steps of the dilation: ``2·radius + 1`` keys a side.
        dilation: Tokens from one key of the window to the next, at least 1.

    Raises:
        ValueError: If radius is negative, or dilation less than 1.

    Source:
        Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1, here around each token of a grid.

    Example:
        >>> WindowMask(1, radius=1, dilation=2).kernel(3)
        tensor([[1., 0., 1., 0., 1.]])
    """

    _one: Tensor

    def __init__(self, heads: int, radius: int = 3, dilation: int = 1) -> None:
        super().__init__(heads)
        for name, number, least in (("radius", radius, 0), ("dilation", dilation, 1)):
            value = torch.tensor(number)
            check(value, name, value >= least, f"must be at least {least}")
        self.radius, self.dilation = radius, dilation
        # A mask without parameters still has to follow its model's device.
        self.register_buffer("_one", torch.ones(()), persistent=False)

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` of ones and zeros."""
        return self._box(Grid.of(grid).without_prefix())

    def separable(self, grid: GridLike) -> Separable | None:
        """One outer product of windows on a line; None on rings."""
        grid = Grid.of(grid)
        return Separable(tuple(self._box(Grid(n))[:, None] for n in grid.shape)) if grid.is_open else None

    def log_kernel(self, grid: GridLike) -> Tensor | None:
        """0 in the window, −∞ outside."""
        seen = self._box(Grid.of(grid).without_prefix())
        return torch.zeros_like(seen).masked_fill(seen == 0, -torch.inf)

    def at(self, offset: Tensor) -> Tensor:
        """The window at any offsets ``(*S, D)``, in tokens and between them: ``(heads, *S)``, for ``rectangular``."""
        return self._of(within(offset, self.radius, self.dilation))

    def log_at(self, offset: Tensor) -> Tensor:
        """0 in the window, −∞ outside, as in ``at``."""
        seen = self.at(offset)
        return torch.zeros_like(seen).masked_fill(seen == 0, -torch.inf)

    def extra_repr(self) -> str:
        """Heads, radius and dilation."""
        return f"heads={self.heads}, radius={self.radius}, dilation={self.dilation}"

    def _box(self, grid: Grid) -> Tensor:
        return self._of(within(offsets(grid, self._one.device), self.radius, self.dilation))

    def _of(self, seen: Tensor) -> Tensor:
        return seen.to(self._one.device, self._made).repeat(self.heads, *(1,) * seen.ndim)
