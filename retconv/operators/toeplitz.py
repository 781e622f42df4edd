"""The mask as one small Toeplitz matrix for each frequency of the last axis: matrix products only."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.convert import unfold
from retconv.grid import Grid

#: In how many parts the frequencies are taken: temporaries then stay below three times the input. Columns are never cut:
#: the matrix products lose a third of their speed at half the width.
FREQUENCY_PARTS = 4


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
        rows = x.unflatten(1, (-1, self.grid.shape[-1]))  # shape: (heads, P, n, columns)
        parts = [self._head(head, row) for head, row in enumerate(rows)]
        return torch.stack(parts).reshape(x.shape) if len(parts) > 1 else parts[0].reshape(x.shape)

    def _head(self, head: int, x: Tensor) -> Tensor:
        """Transform, multiply and transform back a quarter of the frequencies at a time, which bounds the memory."""
        count, n, _ = x.shape
        odd = n // 2
        low, mirrored = x[:, :odd], x[:, n - odd :].flip(1)
        even_part, odd_part = low + mirrored, low - mirrored
        if n % 2:
            even_part = torch.cat([even_part, x[:, odd : odd + 1]], dim=1)
        y_even: Tensor | None = None
        y_odd: Tensor | None = None
        step = -(-n // FREQUENCY_PARTS)
        for start in range(0, n, step):
            part = slice(start, start + step)
            real, imag = self.real[head, part], self.imag[head, part]
            cosine, sine = (w[part].expand(count, -1, -1) for w in (self.cosine, self.sine))
            # Frequencies go first, (frequencies, P, columns): strided, which the batched product reads without a copy.
            c = torch.bmm(cosine, even_part).transpose(0, 1)
            s = torch.bmm(sine, odd_part).transpose(0, 1)
            # (A + iB)(c − is) = y_c − i y_s
            y_c = torch.bmm(real, c).baddbmm_(imag, s).transpose(0, 1)
            y_s = torch.bmm(real, s).baddbmm_(imag, c, alpha=-1).transpose(0, 1)
            y_even = torch.bmm(cosine.mT, y_c) if y_even is None else y_even.baddbmm_(cosine.mT, y_c)
            y_odd = torch.bmm(sine.mT, y_s) if y_odd is None else y_odd.baddbmm_(sine.mT, y_s)
        assert y_even is not None
        assert y_odd is not None
        low = y_even[:, :odd]
        return torch.cat([low + y_odd, y_even[:, odd:], (low - y_odd).flip(1)], dim=1)
