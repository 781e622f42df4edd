"""The mask of a kernel that is even along its axes, on even and odd parts of the tokens: four small products."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.convert import unfold
from retconv.grid import Grid
from retconv.watching import is_constant, is_watched

#: Both halved axes are at least this long: below, the calls cost more than the multiplications that they save.
MIRROR_FROM = 64
#: Signs of an orbit's four tokens (see ``MirroredProduct.orbits``) in each class: even or odd in rows, then in columns.
SIGNS = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))


class MirroredProduct:
    """``M`` on each of four classes of tokens, as ``ToeplitzProduct`` does it, with a quarter of the products.

    A kernel that is even along the last axis, and under reversal of all other axes together, gives a mask that commutes
    with both reflections of the grid. It maps what is even or odd under each of them to the same, so it falls apart
    into four classes, each on a quarter of the tokens. Rows are counted over all axes but the last.

    Args:
        kernel: ``(1, 2 n_1 − 1, …, 2 n_D − 1)``, for which ``applies`` holds.
        grid: The grid.
    """

    def __init__(self, kernel: Tensor, grid: Grid) -> None:
        *others, n = grid.shape
        self.rows, self.columns = grid.size // n, n
        length, half = 2 * n - 1, self.rows // 2
        index = torch.arange(n, dtype=torch.float64, device=kernel.device)
        theta = 2 * math.pi / length * index[:, None]
        wave = theta * (index - (n - 1) / 2)[: n // 2]
        # Frequencies by positions of the low half, each: (n, n / 2).
        self.waves = wave.cos().to(kernel.dtype), wave.sin().to(kernel.dtype)
        # 1/L for θ = 0 and 2/L for conjugate pairs, and 1/2 for the join of even and odd rows.
        weight = (1 - (index == 0).to(index.dtype) / 2)[:, None] / length
        offset = torch.cat([index - (n - 1), index[1:]])
        real = torch.einsum("...o,ko->k...", kernel[0], (weight * torch.cos(theta * offset)).to(kernel.dtype))
        blocks = unfold(real, tuple(others)).reshape(n, self.rows, self.rows)[:, :half]
        near, far = blocks[..., :half], blocks[..., half:].flip(-1)
        self.matrices = near + far, near - far  # shape of each: (n, P / 2, P / 2) with P rows
        self._buffers: dict[str, Tensor] = {}

    @staticmethod
    def applies(kernel: Tensor, grid: Grid) -> bool:
        """Whether the kernel is even as it must be, both counts are even and long, and no gradient of it is asked for.

        The gradient of an even kernel is not even: classes would lose its odd parts.
        """
        n = grid.shape[-1]
        rows = grid.size // n
        if min(n, rows) < MIRROR_FROM or n % 2 or rows % 2 or not is_constant(kernel):
            return False
        rows_axes = tuple(range(1, kernel.ndim - 1))
        return torch.equal(kernel, kernel.flip(-1)) and torch.equal(kernel, kernel.flip(rows_axes))

    def orbits(self, x: Tensor) -> Tensor:
        """``(N, …)`` to ``(N / 4, 4, …)``: each token of the low quarter with its images.

        The images are the reflection along the last axis, that of the rows, and both.
        """
        board = x.unflatten(0, (self.rows, self.columns))
        low, high = board.chunk(2)
        quarters = [part for half in (low, high.flip(0)) for part in self._halves(half)]
        return torch.stack(quarters, dim=2).flatten(0, 1)

    def tokens(self, x: Tensor) -> Tensor:
        """The inverse of ``orbits``."""
        a, b, c, d = x.unflatten(0, (self.rows // 2, self.columns // 2)).unbind(2)
        low, high = torch.cat([a, b.flip(1)], dim=1), torch.cat([c, d.flip(1)], dim=1).flip(0)
        return torch.cat([low, high]).flatten(0, 1)

    @staticmethod
    def _halves(board: Tensor) -> tuple[Tensor, Tensor]:
        low, high = board.chunk(2, dim=1)
        return low, high.flip(1)

    def __call__(self, i: int, x: Tensor) -> Tensor:
        """The i-th class of ``SIGNS``, ``(N / 4, columns)`` to the same shape: in x's memory without gradients.

        Args:
            i: Which class.
            x: Signed sums over the tokens of each orbit. Signed results of all classes add up to the tokens of ``M x``.
        """
        half = self.rows // 2
        wave, matrix = self.waves[i % 2].expand(half, -1, -1), self.matrices[i // 2]
        low = x.view(half, self.columns // 2, -1)
        place = None if is_watched(x) else low
        # Frequencies go first, strided, which the batched product reads without a copy.
        c = torch.bmm(wave, low, out=self.buffer("c", place, half, self.columns, low.shape[2])).transpose(0, 1)
        y = torch.bmm(matrix, c, out=self.buffer("y", place, self.columns, half, low.shape[2])).transpose(0, 1)
        return torch.bmm(wave.mT, y, out=place).view(x.shape)

    def buffer(self, name: str, like: Tensor | None, *shape: int) -> Tensor | None:
        """Memory kept from call to call: fresh pages would cost as much time as the products. None for None."""
        if like is None:
            return None
        if name not in self._buffers or self._buffers[name].shape != shape or self._buffers[name].device != like.device:
            self._buffers[name] = like.new_empty(shape)
        return self._buffers[name]
