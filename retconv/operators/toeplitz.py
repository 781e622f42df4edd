"""The mask as one small Toeplitz matrix for each frequency of the last axis: matrix products only."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from retconv.convert import unfold
from retconv.grid import Grid
from retconv.operators.blocks import block_bytes

#: A block of rows or frequencies takes about this many times what fits a core's cache. Columns are never cut: the
#: matrix products lose a third of their speed at half the width.
BLOCKS_IN_CACHE = 2
LEAST = 4


class ToeplitzProduct:
    """``M @ x`` by a discrete Fourier transform of the last axis and Toeplitz blocks along the others.

    Of length L = 2n − 1 (n tokens on the last axis), it needs the frequencies θ_k = 2πk/L, k = 0 … n − 1, only. With
    positions t counted from the middle of the axis, the cosine transform sees the even part of x and the sine
    transform the odd part, which halves both products. For each frequency, the kernel's transform ``A + iB`` is a
    Toeplitz matrix over the other axes. Between the sizes where the dense product and the FFT win, this is the fastest.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` with D ≥ 2.
        grid: The grid.
    """

    def __init__(self, kernel: Tensor, grid: Grid) -> None:
        self.grid = grid
        n = grid.shape[-1]
        length = 2 * n - 1
        index = torch.arange(n, dtype=torch.float64, device=kernel.device)
        theta = 2 * math.pi / length * index[:, None]
        position = index - (n - 1) / 2
        even, odd = (n + 1) // 2, n // 2
        self.cosine = torch.cos(theta * position[:even]).to(kernel.dtype)  # shape: (n, even)
        self.sine = torch.sin(theta * position[:odd]).to(kernel.dtype)  # shape: (n, odd)
        offset = torch.cat([index - (n - 1), index[1:]])
        # The inverse transform's weights, 1/L for θ = 0 and 2/L for conjugate pairs, are folded into the kernel's.
        weight = (2 - (index == 0).to(index.dtype))[:, None] / length
        waves = torch.stack([weight * torch.cos(theta * offset), weight * torch.sin(theta * offset)])
        spectrum = torch.einsum("h...o,pko->phk...", kernel, waves.to(kernel.dtype))
        rows = grid.size // n
        # Real and imaginary part A and B for each frequency; shape of each: (heads, n, P, P) with P = N / n.
        self.real, self.imag = unfold(spectrum, grid.shape[:-1]).reshape(2, kernel.shape[0], n, rows, rows)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        grid_rows = x.unflatten(1, (-1, self.grid.shape[-1]))  # shape: (heads, P, n, columns)
        if torch.is_grad_enabled() and (x.requires_grad or self.real.requires_grad):
            parts = [self._inverse(*self._filter(h, *self._forward(row))) for h, row in enumerate(grid_rows)]
            return torch.stack(parts).reshape(x.shape)
        out = torch.empty_like(grid_rows)
        for head, rows in enumerate(grid_rows):
            self._in_blocks(head, rows, out[head])
        return out.reshape(x.shape)

    def _in_blocks(self, head: int, rows: Tensor, c: Tensor) -> None:
        """Rows, frequencies and rows again, a block at a time and in place: the result ends in ``c``."""
        count, n, columns = rows.shape
        s = torch.empty_like(rows)
        for part in _parts(count, n * columns, rows):
            self._forward(rows[part], (c[part], s[part]))
        for part in _parts(n, count * columns, rows):
            c[:, part], s[:, part] = self._filter(head, c[:, part], s[:, part], part)
        for part in _parts(count, n * columns, rows):
            c[part] = self._inverse(c[part], s[part])

    def _forward(
        self, rows: Tensor, out: tuple[Tensor, Tensor] | tuple[None, None] = (None, None)
    ) -> tuple[Tensor, Tensor]:
        """Cosine and sine transform of ``(rows, n, columns)``, both ``(rows, n, columns)``."""
        n = rows.shape[1]
        odd = n // 2
        mirrored = rows[:, n - odd :].flip(1)
        even_part = torch.cat([rows[:, :odd] + mirrored, rows[:, odd : n - odd]], dim=1)
        odd_part = rows[:, :odd] - mirrored
        c = torch.bmm(self.cosine.expand(len(rows), -1, -1), even_part, out=out[0])
        return c, torch.bmm(self.sine.expand(len(rows), -1, -1), odd_part, out=out[1])

    def _filter(self, head: int, c: Tensor, s: Tensor, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Apply ``A + iB`` to ``c − is`` with three real products: ``A(c + s)``, ``(B − A) s`` and ``(A + B) c``."""
        real, imag = self.real[head, part], self.imag[head, part]
        c, s = c.transpose(0, 1), s.transpose(0, 1)
        both = torch.bmm(real, c + s)
        y_c = torch.baddbmm(both, imag - real, s)
        y_s = torch.baddbmm(both, real + imag, c, alpha=-1)
        return y_c.transpose(0, 1), y_s.transpose(0, 1)

    def _inverse(self, c: Tensor, s: Tensor) -> Tensor:
        """Back from frequencies to the ``(rows, n, columns)`` of the grid."""
        odd = c.shape[1] // 2
        even_part = torch.bmm(self.cosine.T.expand(len(c), -1, -1), c)
        odd_part = torch.bmm(self.sine.T.expand(len(c), -1, -1), s)
        low = even_part[:, :odd]
        return torch.cat([low + odd_part, even_part[:, odd:], (low - odd_part).flip(1)], dim=1)


def _parts(count: int, size: int, like: Tensor) -> Iterator[slice]:
    """Cut ``count`` rows of ``size`` elements into blocks for the cache, at least ``LEAST`` of them to bound memory."""
    fits = BLOCKS_IN_CACHE * block_bytes(like.device) // (size * like.itemsize)
    step = max(1, min(fits, -(-count // LEAST)))
    return (slice(start, start + step) for start in range(0, count, step))
