"""A kernel gathered by distance: all that a function of distance alone can fit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from retconv.approximate.certificate import double
from retconv.approximate.variable_projection import Array
from retconv.convert.residual import relative_norm


@dataclass(frozen=True)
class Shells:
    """Means of a kernel over offsets at the same distance.

    ``Σ_δ (K[δ] − f(|δ|))² = Σ_d count_d (mean_d − f(d))²`` plus a part that no f changes.

    Attributes:
        distance: The distances that occur, ascending, ``(shells,)``.
        count: How many offsets have each, ``(shells,)``.
        means: Mean of the kernel over them, ``(heads, shells)``.
    """

    distance: Array
    count: Array
    means: Array


def shells(kernel: Tensor, distance: Tensor) -> Shells:
    """Gather a kernel by distance.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …)``.
        distance: Of every offset, of the kernel's shape without heads; equal distances must be equal numbers, and
            offsets of negative distance are left out.
    """
    values, flat = double(kernel).flatten(1), distance.flatten()
    values, flat = values[:, flat >= 0], flat[flat >= 0]
    unique, index, count = flat.unique(sorted=True, return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(values), len(unique)).index_add_(1, index, values)
    return Shells(unique.double().numpy(), count.double().numpy(), (sums / count).numpy())


def relative_residual(kernel: Tensor, fitted: Tensor) -> Tensor:
    """``‖K − K'‖₂ / ‖K‖₂`` of each head, 0 where both are 0."""
    return relative_norm(kernel - fitted, kernel)
