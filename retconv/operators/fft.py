"""The mask as a product of spectra: O(N log N) for every kernel on every grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.grid import Grid
from retconv.operators.columns import block_bytes, map_blocks
from retconv.watching import is_watched

#: Columns that are brought to the front together: a cache line's worth of float32.
GROUP = 16
#: The same on a line, and columns of a line that are transformed together whatever memory they take: one by one, long
#: transforms take up to three times as long.
LINES, LEAST = 64, 8


def fast_length(n: int) -> int:
    """The smallest ``2^a 3^b 5^c`` that is at least n ≥ 1: scipy's ``next_fast_len``, without its 0.7 s of import."""
    best = 1 << (n - 1).bit_length()
    five = 1
    while five < best:
        odd = five
        while odd < best:
            best = min(best, odd << (-(-n // odd) - 1).bit_length())
            odd *= 3
        five *= 5
    return best


def lengths(grid: Grid) -> tuple[int, ...]:
    """Transform length of each axis: the smallest fast one ≥ 2n − 1, where wrapping around meets no token.

    Along a periodic axis it is n, where wrapping around is what the mask does.
    """
    sides = zip(grid.kernel_shape, grid.periodic, strict=True)
    return tuple(side if ring else fast_length(side) for side, ring in sides)


class FFTProduct:
    """``M @ x`` by real transforms of the smallest sufficient size, over blocks of columns that stay in cache.

    A circular correlation of length L ≥ 2n − 1 equals the zero-padded one on the n positions that are kept. Rows that
    are zero padding are never transformed.

    Args:
        kernel: ``(heads, *grid.kernel_shape)``, float32 or float64.
        grid: The grid.
    """

    def __init__(self, kernel: Tensor, grid: Grid) -> None:
        self.grid = grid
        self.lengths = lengths(grid)
        # Offset 0 goes to index 0 and the flip turns the FFT's convolution into the mask's correlation.
        axes = tuple(range(1, kernel.ndim))
        padded = F.pad(kernel.flip(axes), [p for L, s in zip(self.lengths[::-1], grid.kernel_shape[::-1], strict=True)
                                           for p in (0, L - s)])  # fmt: skip
        centers = zip(grid.center, grid.kernel_shape, strict=True)
        shifted = padded.roll([1 + center - side for center, side in centers], axes)
        # The inverse transforms' 1 / L is carried by the kernel, whose sums then stay as small as its entries.
        spectrum = torch.fft.rfftn(shifted / math.prod(self.lengths), dim=axes)
        for _ in range(grid.ndim - 1):
            spectrum = spectrum.movedim(1, -1)
        self.spectrum = spectrum.contiguous()[:, None]  # shape: (heads, 1, L_D // 2 + 1, L_1, …, L_{D−1})

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        watched = is_watched(x, self.spectrum)
        # Two blocks at least, so that padded temporaries stay below four times the input.
        fits = block_bytes(x.device) // (math.prod(self.lengths) * x.itemsize)
        per_block = max(1, min(fits if self.grid.ndim > 1 else max(fits, LEAST), x.shape[0] * x.shape[2] // 2))
        buffers = None if watched else _Buffers()

        def group(x: Tensor, heads: slice) -> Tensor:
            images = x.transpose(1, 2).clone(memory_format=torch.contiguous_format)
            spectrum = self.spectrum[heads]
            parts = images.split(per_block, dim=1)
            if watched:
                return torch.cat([self._product(part, spectrum, None) for part in parts], dim=1).transpose(1, 2)
            for part in parts:
                part.copy_(self._product(part, spectrum, buffers))
            return images.transpose(1, 2)

        return map_blocks(group, x, max(per_block, GROUP if self.grid.ndim > 1 else LINES), watched)

    def _product(self, images: Tensor, spectrum: Tensor, buffers: _Buffers | None) -> Tensor:
        """Transform, multiply and transform back ``(heads, columns, N)``."""
        pad = _pad if buffers is None else buffers.pad
        shape, ends = self.grid.shape, self.lengths
        z = torch.fft.rfft(pad(images.unflatten(2, shape), ends[-1]))
        # Each further axis is brought last, where a transform reads contiguous memory.
        for length in ends[:-1]:
            z = torch.fft.fft(pad(z.movedim(2, -1), length))
        z = z * spectrum if buffers is None else z.mul_(spectrum)
        for n in reversed(shape[:-1]):
            z = torch.fft.ifft(z, norm="forward")[..., :n].movedim(-1, 2)
        y = torch.fft.irfft(z.contiguous(), n=ends[-1], norm="forward")[..., : shape[-1]]
        return y.flatten(2)


def _pad(z: Tensor, length: int) -> Tensor:
    return F.pad(z, (0, length - z.shape[-1]))


class _Buffers:
    """Zero-padded buffers whose zeros are written once and kept from block to block."""

    def __init__(self) -> None:
        self.padded: dict[tuple[object, ...], Tensor] = {}

    def pad(self, z: Tensor, length: int) -> Tensor:
        """Copy ``z`` into the first entries of the last axis of a buffer of ``length``."""
        key = (z.dtype, length, *z.shape)
        if key not in self.padded:
            self.padded[key] = z.new_zeros(*z.shape[:-1], length)
        self.padded[key][..., : z.shape[-1]] = z
        return self.padded[key]
