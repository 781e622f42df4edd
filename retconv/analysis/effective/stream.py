"""Law 17: attention has an effective kernel and an explained variance, nothing more; measured over many batches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from retconv.analysis.effective.result import Effective
from retconv.convert import kernel_to_mask
from retconv.convert.boundary import summed
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import compute_dtype, require_tensors
from retconv.watching import unwatched

#: Attention of at most so many entries is widened to float64 at a time.
_ENTRIES = 2**24


class EffectiveKernel:
    """Accumulates attention weights, batch by batch, in memory that does not grow: one mean mask for each head.

    Means and squared deviations are merged batch by batch (Chan, Golub and LeVeque 1983), so that nothing cancels and
    the result does not depend on how the images were divided into batches.

    Args:
        grid: The grid. Rows and columns of its prefix tokens are left out; the rest of a row is not renormalised.

    Example:
        >>> effective = EffectiveKernel((2, 2))
        >>> effective.update(torch.full((5, 3, 4, 4), 0.25))  # (batch, heads, N, N)
        >>> effective.result().kernel.shape
        torch.Size([3, 3, 3])
    """

    def __init__(self, grid: GridLike) -> None:
        self.grid = Grid.of(grid)
        self._count = 0
        self._rounding = 0.0
        self._mean: Tensor | None = None  # shape: (heads, N, N)
        self._within: Tensor | None = None  # shape: (heads, N), Σ over images and keys of (A − mean)²

    @torch.no_grad()
    def update(self, weights: Tensor) -> None:
        """Add a batch of attention weights.

        Args:
            weights: ``(batch, heads, length, length)`` of any floating dtype, rows are queries.

        Raises:
            ValueError: If the shape is not that, the number of heads changes, or a weight is not finite.
        """
        require_tensors(weights=weights)
        length = self.grid.length
        if weights.ndim != 4 or tuple(weights.shape[2:]) != (length, length) or not weights.is_floating_point():
            raise ValueError(
                f"attention weights must be a floating (batch, heads, {length}, {length}) on {self.grid}, got "
                f"{weights.dtype} of shape {tuple(weights.shape)}"
            )
        if self._mean is not None and weights.shape[1] != self._mean.shape[0]:
            raise ValueError(f"attention weights had {self._mean.shape[0]} heads before, now {weights.shape[1]}")
        if not bool(torch.isfinite(weights).all()):
            raise ValueError("attention weights must be finite: give them after the softmax")
        # Half types are rounded once, from a softmax that is computed wider.
        epsilon = torch.finfo(weights.dtype).eps
        self._rounding = max(self._rounding, epsilon * (1 if weights.dtype.itemsize < 4 else 8))
        prefix, images = self.grid.prefix, max(1, _ENTRIES // max(1, weights.shape[1] * length**2))
        with unwatched():
            for part in weights[:, :, prefix:, prefix:].split(images):
                self._merge(part.to(compute_dtype(weights.device)))

    def result(self) -> Effective:
        """The effective kernel of everything so far.

        Raises:
            ValueError: If there was no image yet.
        """
        if self._mean is None or self._within is None:
            raise ValueError("EffectiveKernel has seen no attention weights: call update first")
        grid, mean, count = self.grid.without_prefix(), self._mean, self._count
        heads = mean.shape[0]
        kernel = summed(mean.reshape(heads, *grid.shape, *grid.shape), grid) / grid.pair_count(mean.device)
        shared = kernel_to_mask(kernel, grid)
        average = mean.mean(dim=(1, 2), keepdim=True)
        position = count * (mean - shared).square().sum(dim=2)  # shape: (heads, N)
        # Of squared deviations from the average weight: the three parts are orthogonal, so they add up.
        parts = torch.stack(
            [
                count * (shared - average).square().sum(dim=(1, 2)),
                position.sum(dim=1),
                self._within.sum(dim=1),
            ]
        )
        total = parts.sum(dim=0)
        power = self._within + count * mean.square().sum(dim=2)
        # What rounding of the weights alone would leave is no variance.
        flat = total <= self._rounding**2 * power.sum(dim=1)
        shares = torch.where(flat, torch.nan, parts / torch.where(flat, 1.0, total))
        missed = (self._within + position) / torch.where(power == 0, 1.0, power)
        explained, beyond, content = shares.unbind()
        residual = missed.sqrt().reshape(heads, *grid.shape)
        return Effective(grid, count, kernel, mean.clone(), explained, beyond, content, residual)

    def _merge(self, weights: Tensor) -> None:
        new = weights.shape[0]
        if new == 0:
            return
        mean = weights.mean(dim=0)
        # A norm takes no second copy of all weights, as their squares would.
        within = torch.linalg.vector_norm(weights - mean, dim=(0, 3)).square()
        if self._mean is None or self._within is None:
            self._count, self._mean, self._within = new, mean, within
            return
        both = self._count + new
        step = mean - self._mean
        self._within += within + step.square().sum(dim=2) * (self._count * new / both)
        self._mean += step * (new / both)
        self._count = both


def effective_kernel(weights: Tensor | Iterable[Tensor], grid: GridLike) -> Effective:
    """The effective kernel of attention weights: of one batch, or of an iterable of batches that is read once.

    Args:
        weights: ``(batch, heads, length, length)``, or several of these.
        grid: The grid; prefix tokens are left out.

    Returns:
        Mean kernel, shares of variance and residual map.

    Raises:
        ValueError: If a shape is not the grid's, a weight is not finite, or there is no image.

    Example:
        >>> weights = torch.eye(9).expand(8, 1, 9, 9)  # each token sees itself, in every image
        >>> effective_kernel(weights, (3, 3)).explained.tolist()
        [1.0]
    """
    stream = EffectiveKernel(grid)
    for batch in [weights] if isinstance(weights, Tensor) else weights:
        stream.update(batch)
    return stream.result()
