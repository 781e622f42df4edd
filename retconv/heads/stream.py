"""Attention weights of one layer, streamed: their effective kernel, and what an interval over images needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.analysis.effective import Effective, EffectiveKernel
from retconv.convert.boundary import summed
from retconv.grid import Grid, GridLike
from retconv.heads.intervals import Interval, explained_interval
from retconv.kernels.parameters import compute_dtype
from retconv.watching import unwatched

#: Groups that images are dealt to in turn: one each up to so many images.
GROUPS = 32
#: Attention of at most so many entries is widened to float64 at a time.
_ENTRIES = 2**22


@dataclass(frozen=True)
class Streamed:
    """What a stream of attention weights amounts to; every tensor is ``(heads,)``.

    Attributes:
        effective: Effective kernel, mean attention and shares of variance (law 17).
        interval: Of the share that the kernel explains, over images.
        circulant: The share that the nearest block-circulant matrix (BCCB) explains; at most the kernel's (law 23).
        prefix: The share of the weight of grid queries, by its modulus, that goes to prefix tokens.
        variation: Standard deviation of all weights over their mean; 0 in uniform attention.
        variance: Mean over matrices of the sum of squared deviations from the mean weight.
    """

    effective: Effective
    interval: Interval
    circulant: Tensor
    prefix: Tensor
    variation: Tensor
    variance: Tensor


class HeadStream:
    """Accumulates the attention weights of a layer in memory that does not grow with the images.

    It holds the mean mask of each head, ``heads · N²`` numbers in float64, and for the interval the sums of at most 32
    groups of images by offset, ``32 · heads · ∏(2 n_d − 1)``.

    Args:
        grid: The grid. Rows and columns of its prefix tokens are left out; the rest of a row is not renormalised.

    Raises:
        ValueError: If the grid is periodic.

    Example:
        >>> stream = HeadStream((2, 2))
        >>> stream.update(torch.rand(6, 3, 4, 4).softmax(dim=-1), images=6)  # (images, heads, N, N)
        >>> stream.result().effective.kernel.shape
        torch.Size([3, 3, 3])
    """

    def __init__(self, grid: GridLike) -> None:
        self.grid = Grid.of(grid)
        self.grid.require_open("HeadStream", "look on grid.opened()")
        self.windows = 1
        self._effective = EffectiveKernel(self.grid)
        self._sums: Tensor | None = None  # shape: (GROUPS, heads, 2 n_1 − 1, …)
        self._squares = self._counts = self._mass = self._start = torch.empty(0)

    def update(self, weights: Tensor, images: int, first: int = 0) -> None:
        """Add the attention of some images.

        Args:
            weights: ``(images · windows, heads, length, length)``, the windows of an image one after the other.
            images: Number of images.
            first: How many images came before these: they are dealt to groups in turn.

        Raises:
            ValueError: If the weights are not those of so many images, have another shape or are not finite.
        """
        if images < 1 or len(weights) % images:
            raise ValueError(
                f"attention weights of {images} images must be as many matrices for each, got {len(weights)} in shape "
                f"{tuple(weights.shape)}: images must not be dropped or repeated between the model's input and its "
                "attention"
            )
        self._effective.update(weights)
        with unwatched():
            self._add(weights, images, first)

    def _add(self, weights: Tensor, images: int, first: int) -> None:
        heads, prefix, size = weights.shape[1], self.grid.prefix, self.grid.size
        if self._sums is None:
            zeros = weights.new_zeros(GROUPS, heads, dtype=compute_dtype(weights.device))
            self._sums = zeros.new_zeros(GROUPS, heads, *self.grid.kernel_shape)
            self._squares, self._counts, self._mass = zeros, zeros[:, 0].clone(), zeros[:2].clone()
            # Sums of squares would cancel: weights are counted from their mean in the first batch.
            self._start = weights[:, :, prefix:, prefix:].mean(dim=(0, 2, 3), dtype=zeros.dtype)
        self.windows = len(weights) // images
        group = (first + torch.arange(len(weights), device=weights.device) // self.windows) % GROUPS
        self._counts += group.bincount(minlength=GROUPS)
        for part, of in zip(*(x.split(max(1, _ENTRIES // (heads * size**2))) for x in (weights, group)), strict=True):
            rows = part[:, :, prefix:].to(self._squares.dtype)
            # Norms take no copy of all weights, as moduli and squares would.
            norms = [torch.linalg.vector_norm(each, ord=1, dim=(0, 2, 3)) for each in (rows[..., :prefix], rows)]
            self._mass += torch.stack(norms)
            body = rows[..., prefix:] - self._start[:, None, None]
            self._squares.index_add_(0, of, torch.linalg.vector_norm(body, dim=(2, 3)).square())
            shape = (len(part), heads, *self.grid.shape, *self.grid.shape)
            self._sums.index_add_(0, of, summed(body.reshape(shape), self.grid.without_prefix()))

    def result(self, confidence: float = 0.95) -> Streamed:
        """Everything so far.

        Args:
            confidence: Of the interval.

        Raises:
            ValueError: If there was no image yet.
        """
        effective = self._effective.result()
        assert self._sums is not None
        grid, used = effective.grid, self._counts > 0
        mean, count = effective.mean, self._counts.sum()
        average = mean.mean(dim=(1, 2))
        shift = average - self._start
        variance = (self._squares.sum(dim=0) / count - (shift * grid.size).square()).clamp(min=0)
        interval = explained_interval(self._sums[used], self._squares[used], self._counts[used], grid, confidence)
        flat = effective.explained.isnan()
        ring = Grid(grid.shape, periodic=True)
        wrapped = summed((mean - average[:, None, None]).reshape(-1, *grid.shape, *grid.shape), ring)
        around = (wrapped.square() / ring.pair_count(mean.device)).flatten(1).sum(dim=1)
        return Streamed(
            effective=effective,
            interval=Interval(*(torch.where(flat, torch.nan, each) for each in interval)),
            circulant=torch.where(flat, torch.nan, around / torch.where(flat, 1.0, variance)),
            prefix=self._mass[0] / torch.where(self._mass[1] == 0, 1.0, self._mass[1]),
            variation=torch.where(flat, 0.0, variance.sqrt() / (grid.size * average.abs())),
            variance=variance,
        )
