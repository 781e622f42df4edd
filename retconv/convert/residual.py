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


def largest(rows: Tensor) -> Tensor:
    """The largest modulus of each row, not differentiable."""
    return torch.linalg.vector_norm(rows.detach(), ord=torch.inf, dim=1)


def _norm(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The norm of each row in a unit of its own, a power of two, and that unit: 1 for all but extreme numbers."""
    bits = 1024 if rows.dtype == torch.float64 else 128
    most = largest(rows)
    unit = torch.ones_like(most)
    unit = torch.where(most > 2.0 ** (bits * 2 // 5), 2.0 ** (bits * 3 // 5), unit)
    unit = torch.where(most < 2.0 ** (-bits * 2 // 5), 2.0 ** (-bits * 3 // 5), unit)
    if bool((unit != 1).any()):
        rows = rows / unit[:, None]
    return torch.linalg.vector_norm(rows, dim=1), unit
