"""Norms and quotients of norms that no scale of the numbers breaks: what a residual is measured by."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.kernels.parameters import compute_dtype


def wide(tensor: Tensor) -> Tensor:
    """A tensor in the dtype in which residuals are computed: float64, or float32 where a device lacks it."""
    return tensor.to(compute_dtype(tensor.device))


def relative_norm(part: Tensor, whole: Tensor) -> Tensor:
    """``‖part‖₂ / ‖whole‖₂`` of each head, where no square and no quotient leaves the range of the numbers on the way.

    Args:
        part: ``(heads, …)`` in a wide dtype (see ``wide``), finite.
        whole: Likewise.

    Returns:
        ``(heads,)``, differentiable: 0 where the part is 0, infinite where only the whole is.
    """
    (first, unit), (second, other) = _norm(part.flatten(1)), _norm(whole.flatten(1))
    quotient = first / torch.where((second == 0) & (first == 0), 1.0, second)
    return torch.where(unit == other, quotient, quotient / other * unit)


def norm_of_rest(deviation: Tensor, parts: Tensor, whole: Tensor, differs: Tensor) -> Tensor:
    """``√(‖deviation‖² − ‖parts‖²) / ‖whole‖`` of each head: what is left of a deviation without an orthogonal part.

    Args:
        deviation: ``(heads, …)`` in a wide dtype, finite; of each class of entries that a part is the mean of, one is
            0, so that the difference of squares loses no more digits than a class has entries.
        parts: ``(heads, …)``, the orthogonal part, its entries weighed by the roots of how often they occur.
        whole: ``(heads, …)``.
        differs: ``(heads,)``, whether there is any deviation, however small.

    Returns:
        ``(heads,)``, differentiable: 0 where nothing differs, else from the dtype's smallest number to 1, beyond
        which rounding would go.
    """
    (first, unit), (second, other) = _norm(deviation.flatten(1)), _norm(whole.flatten(1))
    square = first.square() - (parts.flatten(1) / unit[:, None]).square().sum(dim=1)
    rest = torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
    quotient = rest / torch.where(differs, second, 1.0)
    residual = torch.where(unit == other, quotient, quotient / other * unit)
    return torch.where(differs, residual.clamp(torch.finfo(first.dtype).tiny, 1.0), 0.0)


def differing(deviation: Tensor) -> Tensor:
    """Whether each head ``(heads, …)`` has an entry other than 0, however small; not differentiable."""
    rows = deviation.detach().flatten(1)
    differs = torch.linalg.vector_norm(rows, dim=1) > 0
    # The norm of tiny entries is 0; to look at each takes twice as long as a norm.
    return differs if bool(differs.all()) else rows.any(dim=1)


def largest(rows: Tensor) -> Tensor:
    """The largest modulus of each row, not differentiable."""
    return torch.linalg.vector_norm(rows.detach(), ord=torch.inf, dim=1)


def _norm(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The norm of each row in a unit of its own, a power of two, and that unit: 1 for all but extreme numbers."""
    bits = 1024 if rows.dtype == torch.float64 else 128
    norm = torch.linalg.vector_norm(rows, dim=1)
    low, high = 2.0 ** (-bits * 2 // 5), 2.0 ** (bits * 2 // 5)
    # First without: to look for the largest number of each row takes ten times as long as its norm.
    if bool(((norm > low) & (norm < high)).all()):
        return norm, torch.ones_like(norm)
    most = largest(rows)
    unit = torch.ones_like(most)
    unit = torch.where(most > high, 2.0 ** (bits * 3 // 5), unit)
    unit = torch.where(most < low, 2.0 ** (-bits * 3 // 5), unit)
    return torch.linalg.vector_norm(rows / unit[:, None], dim=1), unit
