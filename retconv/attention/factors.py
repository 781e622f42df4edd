"""What closed forms of extra channels are made of, for parameters that are a module's own: not looked at."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.grid import Grid, kept
from retconv.kernels import GAUSSIAN_EPSILON
from retconv.kernels.parameters import compute_dtype


class ExtraChannels(NamedTuple):
    """Numbers that are appended to queries and keys: ``log M[q, k] = u_q · w_k`` up to a constant of each row.

    Attributes:
        query: u, ``(…, heads, length, channels)``.
        key: w, as u; one head may serve all.

    Example:
        >>> query, key = retconv.attention.alibi_channels(torch.tensor([0.5]), 3)
        >>> query.shape, key.shape
        (torch.Size([1, 3, 1]), torch.Size([1, 3, 1]))
    """

    query: Tensor
    key: Tensor

    def to(self, dtype: torch.dtype) -> ExtraChannels:
        """The same in another dtype."""
        return ExtraChannels(self.query.to(dtype), self.key.to(dtype))


@kept
def centred(grid: Grid, device: torch.device) -> Tensor:
    """Places of the grid's tokens from its centre, which makes the smallest terms, ``(N, D)``."""
    middle = torch.tensor([(n - 1) / 2 for n in grid.shape], dtype=compute_dtype(device), device=device)
    return grid.coordinates(device).to(middle.dtype) - middle


def placed(query: Tensor, key: Tensor, row: Tensor | None, grid: Grid) -> ExtraChannels:
    """Channels of the grid's tokens as those of all: 0 for prefix tokens, beside which the row's constant is seen.

    Args:
        query: ``(…, heads, N, channels)``.
        key: As query.
        row: What ``u · w`` lacks of the log-mask, ``(…, heads, N)``; None if nothing.
        grid: The grid.
    """
    if grid.prefix and row is not None:
        query = torch.cat([query, row[..., None]], dim=-1)
        key = torch.cat([key, key.new_ones(*key.shape[:-1], 1)], dim=-1)
    return ExtraChannels(*(F.pad(x, (0, 0, grid.prefix, 0)) for x in (query, key)))


def quadratic(shift: Tensor, precision: Tensor, constant: Tensor | None, grid: Grid) -> ExtraChannels:
    """``−½ (δ − μ)ᵀ A (δ − μ)`` and a constant, in the computing dtype.

    Args:
        shift: μ, ``(…, heads, N or 1, D)``.
        precision: A, with two axes more than ``(…, heads, N or 1)``; with one, the diagonal; with none, a multiple of
            the identity.
        constant: Added to the log-mask, ``(…, heads, N or 1)``, or None.
        grid: The grid, N tokens.
    """
    position = centred(grid, shift.device)
    mean = position + shift  # shape: (…, heads, N, D)
    axes = [d for d, n in enumerate(grid.shape) if n > 1]
    # On an axis of two tokens the square is 1/4 at both: it belongs to the row.
    long = [d for d, n in enumerate(grid.shape) if n > 2]
    pairs: list[tuple[int, int]] = []
    if precision.ndim == shift.ndim + 1:
        pairs = list(combinations(axes, 2))
        precision = (precision + precision.mT) / 2
        moved = (precision @ mean[..., None])[..., 0]
        diagonal = precision.diagonal(dim1=-2, dim2=-1)
    elif precision.ndim == shift.ndim:
        moved, diagonal = precision * mean, precision
    else:
        moved, diagonal = precision[..., None] * mean, precision[..., None]
    square = position.square()
    query, key = [moved[..., d] for d in axes], [position[..., d] for d in axes]
    if long and precision.ndim < shift.ndim:
        query.append((-diagonal[..., 0] / 2).expand(moved.shape[:-1]))
        # One after another: a list as an index would be copied to the device, and waited for, at every call.
        key.append(torch.stack([square[..., d] for d in long]).sum(dim=0))
    elif long:
        query += [(-diagonal[..., d] / 2).expand(moved.shape[:-1]) for d in long]
        key += [square[..., d] for d in long]
    query += [(-precision[..., d, e]).expand(moved.shape[:-1]) for d, e in pairs]
    key += [position[..., d] * position[..., e] for d, e in pairs]
    row = None
    if grid.prefix:
        row = -(mean * moved).sum(dim=-1) / 2
        for d in (d for d in axes if d not in long):
            row = row - diagonal[..., d if diagonal.shape[-1] > 1 else 0] * square[..., d] / 2
        row = row if constant is None else row + constant
    return placed(_columns(query, moved), _columns(key, position)[None], row, grid)


def _columns(columns: list[Tensor], tokens: Tensor) -> Tensor:
    """Stack channels; there are none on one token."""
    return torch.stack(columns, dim=-1) if columns else tokens[..., :0]


def gaussian_factors(sigma: Tensor, alpha: Tensor, grid: Grid) -> ExtraChannels:
    """The channels of one Gaussian a head, both ``(heads,)``; without a logarithm of alpha they are not a number."""
    sigma, alpha = (x.to(compute_dtype(sigma.device)) for x in (sigma, alpha))
    precision = (1 / (sigma.square() + GAUSSIAN_EPSILON)).masked_fill(alpha <= 0, torch.nan)
    return quadratic(precision.new_zeros(1, 1, grid.ndim), precision[:, None], alpha.log()[:, None], grid)


def line_factors(slope: Tensor, grid: Grid) -> ExtraChannels:
    """The channel of ``−m (q − k)``, of which later keys are hidden; ``(heads,)``."""
    slope = slope.to(compute_dtype(slope.device))[:, None]
    position = centred(grid, slope.device)[..., 0]
    query = slope[..., None].expand(-1, grid.size, -1)
    channels = int(grid.size > 1)
    return placed(query[..., :channels], position[None, :, None][..., :channels], -slope * position, grid)


def decay_factors(gamma: Tensor, grid: Grid) -> ExtraChannels:
    """The channel of a causal decay, ``(heads,)``."""
    return line_factors(-gamma.to(compute_dtype(gamma.device)).log(), grid)
