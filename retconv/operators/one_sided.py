"""The mask of a one-sided kernel on a line, of which no token reaches one on the other side, not even by rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.grid import Grid
from retconv.operators.fft import FFTProduct
from retconv.watching import is_constant

#: Tokens of a block within which the product is one with a matrix.
LEAF = 64

Side = Literal["past", "future"]


def sides_of(kernel: Tensor, grid: Grid) -> list[Side | None]:
    """For each head the side of the query on which all keys lie that a kernel on a line weighs, if that is one alone.

    A kernel that is to be learnt has gradients on both sides, and counts as two-sided.
    """
    n = grid.size
    if grid.ndim > 1 or n == 1 or not is_constant(kernel):
        return [None] * len(kernel)
    future, past = (part.any(dim=1).tolist() for part in (kernel[:, n:], kernel[:, : n - 1]))
    return ["past" if not ahead else None if behind else "future" for ahead, behind in zip(future, past, strict=True)]


def product_by_sides(kernel: Tensor, grid: Grid) -> Callable[[Tensor], Tensor]:
    """``M @ x`` by transforms: in blocks of the heads that are 0 on one side of a line, whatever the other heads are.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …)``, float32 or float64.
        grid: The grid, an open one.
    """
    sides = sides_of(kernel, grid)
    parts: list[tuple[list[int], Callable[[Tensor], Tensor]]] = []
    for side in dict.fromkeys(sides):
        heads = [head for head, other in enumerate(sides) if other == side]
        some = kernel if len(heads) == len(sides) else kernel[heads]
        parts.append((heads, FFTProduct(some, grid) if side is None else OneSidedProduct(some, grid, side)))
    if len(parts) == 1:
        return parts[0][1]
    order = torch.tensor([head for heads, _ in parts for head in heads], device=kernel.device).argsort()
    return lambda x: torch.cat([product(x[heads]) for heads, product in parts])[order]


class OneSidedProduct:
    """``M @ x`` in O(N log² N) where keys on one side of the query count alone.

    A transform of the whole line rounds every output by its largest input, also by one that it must not see: a token of
    1e10 would change the past by 1e3 in float32. Here blocks of ``LEAF`` tokens are products with a triangular matrix,
    and of two neighbouring blocks of ``LEAF``, ``2 LEAF``, … tokens the one reaches the other by a transform, which
    rounds by what it may see.

    Args:
        kernel: ``(heads, 2n − 1)``, 0 on the other side.
        grid: The line.
        side: On which keys count.
    """

    def __init__(self, kernel: Tensor, grid: Grid, side: Side) -> None:
        self.size, self.side = grid.size, side
        weights = (kernel if side == "future" else kernel.flip(1))[:, grid.size - 1 :]  # by distance, from 0
        self.leaf = min(LEAF, grid.size)
        self.length = self.leaf
        self.spectra = []
        while self.length < grid.size:
            self.length *= 2
            self.spectra.append(torch.fft.rfft(weights[:, : self.length], n=self.length)[:, None, :, None])
        distance = torch.arange(self.leaf, device=kernel.device)
        distance = distance[:, None] - distance[None]
        self.block = (weights[:, distance.clamp(min=0)] * (distance >= 0))[:, None]  # shape: (heads, 1, leaf, leaf)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        if self.side == "future":
            return self._of_past(x.flip(1)).flip(1)
        return self._of_past(x)

    def _of_past(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, self.length - self.size))
        y = (self.block @ x.unflatten(1, (-1, self.leaf))).flatten(1, 2)
        half = self.leaf
        for spectrum in self.spectra:
            first = x.unflatten(1, (-1, 2, half))[:, :, 0]
            before, after = y.unflatten(1, (-1, 2, half)).unbind(2)
            y = torch.stack([before, after + reach(first, spectrum)], dim=2).flatten(1, 3)
            half *= 2
        return y[:, : self.size]


def reach(x: Tensor, spectrum: Tensor) -> Tensor:
    """What tokens ``(heads, blocks, size, columns)`` mean for as many that follow each block.

    Args:
        x: The tokens.
        spectrum: Of the weights at the distances 0 … 2 size − 1, ``(heads, 1, size + 1, 1)``.
    """
    size = x.shape[2]
    return torch.fft.irfft(torch.fft.rfft(x, n=2 * size, dim=2) * spectrum, n=2 * size, dim=2)[:, :, size:]
