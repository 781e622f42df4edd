"""Masks as operators, against a product with a ready mask, a user's transforms, and public convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from retconv.bench.peers.convolutions import peers
from retconv.bench.peers.rows import Row
from retconv.grid import Grid
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, MaskLike
from retconv.operators import operator

#: A dense mask of more bytes than this is no contender.
DENSE_BYTES = 2**28
#: Grid, heads of the kernel, and shape of the features in front of tokens and channels, channels.
SIZES: tuple[tuple[tuple[int, ...], int, tuple[int, ...], int], ...] = (
    ((8, 8), 3, (64, 3), 64),
    ((14, 14), 1, (1, 1), 192),
    ((14, 14), 3, (64, 3), 64),
    ((8, 8), 1, (64, 1), 16),
    ((8, 8), 1, (128, 1), 192),
    ((32, 32), 3, (4, 3), 64),
    ((64, 64), 3, (1, 3), 64),
    ((128, 128), 1, (1, 1), 192),
    ((256, 256), 1, (1, 1), 64),
    ((4096,), 1, (1, 1), 64),
    ((65536,), 1, (1, 1), 64),
    ((8, 8, 8), 3, (1, 3), 64),
)


def rows() -> Iterator[Row]:
    """Every row of this part: arbitrary, mixed, Gaussian and decaying kernels of each size."""
    for shape, heads, front, channels in SIZES:
        grid = Grid(shape)
        x = torch.randn(*front, grid.size, channels)
        masks: dict[str, MaskLike] = {
            "arbitrary": torch.randn(heads, *grid.kernel_shape),
            "Gaussian mixture": GaussianMixtureMask(heads, generator=torch.Generator().manual_seed(0)),
            "Gaussian": GaussianMixtureMask(heads, components=1, generator=torch.Generator().manual_seed(0)),
            "decay": DecayMask(heads),
        }
        for kind, mask in masks.items():
            yield _row(kind, mask, grid, x)


def _row(kind: str, mask: MaskLike, grid: Grid, x: Tensor) -> Row:
    with torch.no_grad():
        op = operator(mask, grid)
        kernel = op.kernel.detach()
        others: dict[str, Callable[[], object]] = {
            "torch.fft": transforms(kernel, grid, x),
            **peers(kernel, grid, x),
        }
        if len(kernel) * grid.size**2 * x.itemsize <= DENSE_BYTES:
            dense = Forms.of(kernel, grid).entries
            others["product with the mask"] = lambda: dense @ x
    sizes = f"{'×'.join(map(str, grid.shape))}, x {tuple(x.shape)}"
    return Row(f"{kind}, {sizes}", partial(op, x), others, {"copy": x.clone})


def transforms(kernel: Tensor, grid: Grid, x: Tensor) -> Callable[[], Tensor]:
    """``irfftn(rfftn(x) · spectrum)`` as a user writes it, the spectrum ready, lengths powers of 2."""
    lengths = [1 << (2 * n - 2).bit_length() for n in grid.shape]
    axes = tuple(range(-1 - grid.ndim, -1))
    flipped = kernel.flip(tuple(range(1, kernel.ndim)))[..., None]
    spectrum = torch.fft.rfftn(flipped, s=lengths, dim=axes)

    def apply() -> Tensor:
        images = x.unflatten(-2, grid.shape)
        y = torch.fft.irfftn(torch.fft.rfftn(images, s=lengths, dim=axes) * spectrum, s=lengths, dim=axes)
        for axis, n in zip(axes, grid.shape, strict=True):
            y = y.narrow(axis, n - 1, n)
        return y.reshape(x.shape)

    return apply
