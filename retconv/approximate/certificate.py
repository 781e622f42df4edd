"""Law 12: what an approximation costs, as a number that rounding cannot make too small."""

from __future__ import annotations

from dataclasses import dataclass, fields
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
            Infinite only where the sum, or an entry of K', is beyond the largest number.
        relative: ``‖K − K'‖₁ / ‖K‖₁``, rounded up likewise, whatever the scale of K; 0 only where K and K' are equal.

    Example:
        >>> kernel = retconv.DecayMask(heads=1, gamma=0.5).kernel(retconv.Grid(16))
        >>> cut = retconv.approximate.truncate(kernel, tolerance=0.1)
        >>> bool((kernel - cut.kernel).abs().sum() <= cut.certificate)  # and ‖M − M'‖₂ is no more
        True
    """

    kernel: Tensor
    certificate: Tensor
    relative: Tensor

    def __repr__(self) -> str:
        certificate, relative = (", ".join(f"{x:.3g}" for x in y.tolist()) for y in (self.certificate, self.relative))
        kernel = f"kernel: {tuple(self.kernel.shape)} in {self.kernel.dtype}"
        more = [field.name for field in fields(self)[3:]]
        return (
            f"{type(self).__name__}(certificate=[{certificate}], relative=[{relative}], {', '.join([kernel, *more])})"
        )


def certify(kernel: Tensor, approximation: Tensor) -> dict[str, Any]:
    """Measure an approximation: the fields of ``Approximation``.

    Rounding: each difference of two floating numbers is off by a factor within ``1 ± u``, ``u = 2⁻⁵³``, and a sum of m
    positive terms, in whatever order, by one within ``(1 ± u)^(m−1)``. The sum times ``1 + (m + 4)·2u`` is therefore
    at least ``‖K − K'‖₁``, and ``‖K‖₁`` is rounded down by the same factor before it divides. Numbers of which a sum
    could overflow are summed in a unit of 2⁶⁴, in which what becomes too small to be a number is far below that factor.

    Args:
        kernel: K, ``(heads, odd, …)``.
        approximation: K', of the same shape.

    Returns:
        ``kernel`` (which is K'), ``certificate`` and ``relative``.
    """
    before, after = double(kernel).flatten(1), double(approximation).flatten(1)
    unit, own = unit_of(before - after), unit_of(before)
    inflation, float64 = 1 + (before.shape[1] + 4) * torch.finfo(torch.float64).eps, torch.finfo(torch.float64)
    error = ((before / unit - after / unit).abs().sum(dim=1) * inflation).nan_to_num(nan=torch.inf, posinf=torch.inf)
    norm = (before / own).abs().sum(dim=1) / inflation
    quotient = error / norm * (unit / own)[:, 0] * (1 + 4 * float64.eps)
    return {
        "kernel": approximation,
        "certificate": error * unit[:, 0],
        "relative": torch.where(error == 0, 0.0, quotient.clamp(min=float64.tiny)),
    }


def unit_of(rows: Tensor) -> Tensor:
    """A unit for each row ``(heads, entries)`` in which its float64 entries add up to a number, ``(heads, 1)``."""
    return torch.where(rows.abs().amax(dim=1, keepdim=True) > 2.0**900, 2.0**64, 1.0).to(rows.dtype)


def double(tensor: Tensor) -> Tensor:
    """A tensor's values in float64 on the CPU, where every device's numbers are exact; not differentiable."""
    return tensor.detach().to("cpu").to(torch.float64)
