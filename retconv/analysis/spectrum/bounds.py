"""Law 12: bounds of the operator norm that need no eigenvalues."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from retconv.analysis.reading import resolve
from retconv.analysis.spectrum.symbols import dense_sizes, sampled_gain
from retconv.analysis.spectrum.values import operator_norm
from retconv.grid import Grid, GridLike
from retconv.masks import MaskLike


class NormBounds(NamedTuple):
    """The operator norm between its bounds, ``‖M‖₂ ≤ ‖symbol‖_∞ ≤ ‖K‖₁`` (law 12), each float64 ``(heads,)``.

    Attributes:
        norm: ``‖M‖₂`` on the grid, its largest singular value.
        symbol: A certified upper bound of ``sup |a(θ)|``; exactly ``|a(0)|`` for a kernel of one sign.
        sampled: The largest ``|a(θ)|`` that was met: at most ``sup |a(θ)|``.
        l1: ``‖K‖₁``.

    Example:
        >>> bounds = retconv.analysis.spectrum.norm_bounds(retconv.DecayMask(heads=1, gamma=0.5), 8)
        >>> bool(bounds.norm <= bounds.symbol <= bounds.l1)
        True
    """

    norm: Tensor
    symbol: Tensor
    sampled: Tensor
    l1: Tensor


def norm_bounds(mask: MaskLike, grid: GridLike) -> NormBounds:
    """The operator norm of a mask that has a kernel, and the bounds that its kernel gives at once.

    The symbol is a trigonometric polynomial of degree n − 1 along each axis, and near its maximum such a polynomial
    falls no faster than ``cos((n − 1) t)`` (M. Riesz). Of L frequencies one is within π / L of the maximum, so that
    samples bound the symbol between themselves too: ``sup |a| ≤ max_j |a(θ_j)| / cos(π (n − 1) / L)``, for each axis.

    Args:
        mask: One that has a kernel.
        grid: The grid.

    Returns:
        Norm and bounds.

    Raises:
        ValueError: If the mask has no kernel, or the grid is periodic.

    Example:
        >>> norm_bounds(retconv.DecayMask(heads=1, gamma=0.5), 8).l1.tolist()
        [2.984375]
    """
    Grid.of(grid).require_open("norm_bounds", "use operator_norm, which takes one transform on a torus")
    subject = resolve(mask, grid)
    if subject.kernel is None:
        raise ValueError("norm_bounds: the mask has no kernel, hence no symbol: use operator_norm")
    kernel = subject.kernel
    sizes, l1 = dense_sizes(subject.grid), kernel.abs().flatten(1).sum(dim=1)
    sampled = torch.minimum(sampled_gain(kernel, sizes)[0].amax(dim=1), l1)
    between = math.prod(math.cos(math.pi * (n - 1) / size) for n, size in zip(subject.grid.shape, sizes, strict=True))
    return NormBounds(operator_norm(kernel, subject.grid), torch.minimum(sampled / between, l1), sampled, l1)
