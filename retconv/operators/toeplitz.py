"""The mask as one small Toeplitz matrix for each frequency of the last axis: matrix products only."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from retconv.convert import unfold
from retconv.grid import Grid
from retconv.operators.columns import Scratch, add_product, block_bytes
from retconv.watching import is_constant, is_watched

#: Axes from this length on are split into even and odd part: below, the additions cost more than they save.
HALVE_FROM = 64


class ToeplitzProduct:
    """``M @ x`` by a discrete Fourier transform of the last axis and Toeplitz blocks along the others.

    Of length L = 2n − 1 (n tokens on the last axis), it needs the frequencies θ_k = 2πk/L, k = 0 … n − 1, only, and for
    each of them the kernel's transform ``A + iB`` is a Toeplitz matrix over the other axes. With positions counted from
    the middle of the axis, the cosine transform sees the even part of x only and the sine transform the odd part, which
    halves both on a long axis. A kernel that is even along the last axis has B = 0: two products instead of three,
    where no gradient of it is wanted. Matrix products run so much faster than transforms that this wins between the
    sizes of the dense product and those of the FFT.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` with D ≥ 2.
        grid: The grid.
    """

    def __init__(self, kernel: Tensor, grid: Grid) -> None:
        *others, n = grid.shape
        length = 2 * n - 1
        index = torch.arange(n, dtype=torch.float64, device=kernel.device)
        theta = 2 * math.pi / length * index[:, None]
        wave = theta * (index - (n - 1) / 2)
        self.halved = n >= HALVE_FROM
        # Frequencies by positions; shape: (n, n), or (n, ⌈n/2⌉) and (n, ⌊n/2⌋) if halved.
        self.cosine = wave.cos()[:, : (n + 1) // 2 if self.halved else n].to(kernel.dtype)
        self.sine = wave.sin()[:, : n // 2 if self.halved else n].to(kernel.dtype)
        offset = torch.cat([index - (n - 1), index[1:]])
        # The inverse transform's weights, 1/L for θ = 0 and 2/L for conjugate pairs, are folded into the kernel's.
        weight = (2 - (index == 0).to(index.dtype))[:, None] / length
        waves = torch.stack([weight * torch.cos(theta * offset), weight * torch.sin(theta * offset)]).to(kernel.dtype)
        real, imag = torch.einsum("h...o,pko->phk...", kernel, waves)
        even = is_constant(kernel) and torch.equal(kernel, kernel.flip(-1))
        # A, B − A and A + B for each frequency, or A alone; shape of each: (heads, n, P, P) with P = N / n.
        parts = (real,) if even else (real, imag - real, real + imag)
        self.matrices = tuple(unfold(p, tuple(others)).reshape(len(kernel), n, grid.size // n, -1) for p in parts)
        self._scratch = Scratch()

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        _, n, count, _ = self.matrices[0].shape
        rows = x.reshape(len(x), count, n, -1)
        watched = is_watched(x, self.matrices[0])
        space = None if watched else self._scratch.take(rows, 3, rows[0].numel())
        parts = [self._head(head, row, space) for head, row in enumerate(rows)]
        if space is not None:
            self._scratch.give(space)
        return torch.stack(parts).reshape(x.shape) if len(parts) > 1 else parts[0].reshape(x.shape)

    def _head(self, head: int, x: Tensor, space: Tensor | None) -> Tensor:
        """Transform ``(P, n, columns)``, multiply, and transform back, through the buffers if there are any."""
        count, n, columns = x.shape
        cosine, sine = self.cosine.expand(count, -1, -1), self.sine.expand(count, -1, -1)

        def buffer(i: int, *shape: int, start: int = 0) -> Tensor | None:
            return None if space is None else space[i, start : start + math.prod(shape)].view(shape)

        # The result's memory holds c until it is needed.
        y = None if space is None else torch.empty_like(x)
        even_shape, odd_shape = (count, n - n // 2, columns), (count, n // 2, columns)
        even_part, odd_part = x, x
        if self.halved:
            even_part, odd_part = _split(x, buffer(1, *even_shape), buffer(2, *odd_shape))
        # Frequencies go first, (n, P, columns): strided, which the batched product reads without a copy.
        c = torch.bmm(cosine, even_part, out=y).transpose(0, 1)
        s = torch.bmm(sine, odd_part, out=buffer(0, count, n, columns)).transpose(0, 1)
        real, *others = (m[head] for m in self.matrices)
        if others:
            # (A + iB)(c − is) = y_c − i y_s with three products: A(c + s), (B − A) s and (A + B) c.
            difference, total = others
            both = torch.add(c, s, out=buffer(1, n, count, columns))
            y_s = torch.bmm(real, both, out=buffer(2, n, count, columns))
            y_c = torch.baddbmm(y_s, difference, s, out=buffer(1, n, count, columns)).transpose(0, 1)
            y_s = add_product(y_s, total, c, alpha=-1).transpose(0, 1)
        else:
            y_c = torch.bmm(real, c, out=buffer(1, n, count, columns)).transpose(0, 1)
            y_s = torch.bmm(real, s, out=buffer(2, n, count, columns)).transpose(0, 1)
        if not self.halved:
            return add_product(torch.bmm(cosine.mT, y_c, out=y), sine.mT, y_s)
        y_even = torch.bmm(cosine.mT, y_c, out=buffer(0, *even_shape))
        return _join(y_even, torch.bmm(sine.mT, y_s, out=buffer(0, *odd_shape, start=math.prod(even_shape))), y)


def _split(x: Tensor, even_part: Tensor | None, odd_part: Tensor | None) -> tuple[Tensor, Tensor]:
    """Even and odd part of each row ``(n, columns)`` about its middle; an odd row's middle ends the even part."""
    n = x.shape[1]
    odd = n // 2
    if even_part is None or odd_part is None:
        low, high = x[:, :odd], x[:, n - odd :].flip(1)
        return torch.cat([low + high, x[:, odd : n - odd]], dim=1), low - high
    for r in _rows(x):
        low, high = x[r, :odd], x[r, n - odd :].flip(1)
        torch.add(low, high, out=even_part[r, :odd])
        torch.sub(low, high, out=odd_part[r])
        even_part[r, odd:] = x[r, odd : n - odd]
    return even_part, odd_part


def _join(even_part: Tensor, odd_part: Tensor, y: Tensor | None) -> Tensor:
    """The inverse of ``_split`` up to a factor 2: low half, middle, and mirrored high half of each row."""
    odd = odd_part.shape[1]
    n = odd + even_part.shape[1]
    if y is None:
        low, middle = even_part.split([odd, n - 2 * odd], dim=1)
        return torch.cat([low + odd_part, middle, (low - odd_part).flip(1)], dim=1)
    for r in _rows(y):
        torch.add(even_part[r, :odd], odd_part[r], out=y[r, :odd])
        y[r, odd : n - odd] = even_part[r, odd:]
        y[r, n - odd :] = (even_part[r, :odd] - odd_part[r]).flip(1)
    return y


def _rows(x: Tensor) -> Iterator[slice]:
    """Blocks of rows of ``(rows, n, columns)`` that stay in cache."""
    step = max(1, block_bytes(x.device) // (x[0].numel() * x.itemsize))
    return (slice(start, start + step) for start in range(0, len(x), step))
