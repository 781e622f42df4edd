"""Law 12: what an approximation costs, as a number that rounding cannot make too small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Approximation:
    """A kernel K' that stands in for a kernel K, with its certificate.

    For every x, ``‖M_K x − M_K' x‖₂ ≤ certificate · ‖x‖₂``: a mask's operator norm is at most the largest modulus of
    its kernel's symbol, and that at most the sum of the kernel's moduli, here of ``K − K'`` (law 12, Young's
    inequality). The same holds with the maximum or the sum of moduli in place of ``‖·‖₂``.

    Attributes:
        kernel: K', ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, in K's dtype.
        certificate: ``‖K − K'‖₁`` of the two tables as they are stored, rounded up; float64 ``(heads,)`` on the CPU.
        relative: ``certificate / ‖K‖₁``, rounded up likewise; 0 where K and K' are both 0.
    """

    kernel: Tensor
    certificate: Tensor
    relative: Tensor


def certify(kernel: Tensor, approximation: Tensor) -> dict[str, Any]:
    """Measure an approximation: the fields of ``Approximation``.

    Rounding: each difference of two floating numbers is off by a factor within ``1 ± u``, ``u = 2⁻⁵³``, and a sum of m
    positive terms, in whatever order, by one within ``(1 ± u)^(m−1)``. The sum times ``1 + (m + 4)·2u`` is therefore
    at least ``‖K − K'‖₁``, and ``‖K‖₁`` is rounded down by the same factor before it divides.

    Args:
        kernel: K, ``(heads, odd, …)``.
        approximation: K', of the same shape.

    Returns:
        ``kernel`` (which is K'), ``certificate`` and ``relative``.
    """
    before, after = double(kernel), double(approximation)
    certificate = upper_sum((before - after).abs().flatten(1))
    norm = before.abs().flatten(1).sum(dim=1) / _inflation(before[0].numel())
    relative = torch.where(certificate == 0, 0.0, certificate / norm * (1 + 4 * torch.finfo(torch.float64).eps))
    return {"kernel": approximation, "certificate": certificate, "relative": relative}


def double(tensor: Tensor) -> Tensor:
    """A tensor's values in float64 on the CPU, where every device's numbers are exact; not differentiable."""
    return tensor.detach().to("cpu").to(torch.float64)


def upper_sum(terms: Tensor) -> Tensor:
    """At least the sum of nonnegative float64 terms over the last axis, each of them off by one rounding at most."""
    return terms.sum(dim=-1) * _inflation(terms.shape[-1])


def _inflation(terms: int) -> float:
    return 1 + (terms + 4) * torch.finfo(torch.float64).eps
