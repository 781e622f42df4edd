"""What the tests of the analysis share."""

import torch
from torch import Tensor

from retconv.masks import GaussianMixtureMask


def f64(numbers: object) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def as_real(numbers: Tensor) -> Tensor:
    """Complex numbers as pairs, which ``assert_close`` compares."""
    return torch.view_as_real(numbers.resolve_conj())


def mixture(sigma: list[list[float]], alpha: list[list[float]]) -> GaussianMixtureMask:
    return GaussianMixtureMask.from_parameters(f64(sigma), f64(alpha))
