"""Which frequencies a mask lets through: low-, band- or high-pass, with its gains and band edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.analysis.spectrum.symbol import dense_sizes, frequencies, sampled_symbol, symbol
from retconv.grid import Grid

#: Each round of the search for an edge divides its bracket into so many parts.
_PARTS = 256
_ROUNDS = 6


@dataclass(frozen=True)
class Passband:
    """The frequency response of a kernel, read as that of a filter; rows are heads.

    Attributes:
        kind: ``"low-pass"``, ``"high-pass"``, ``"band-pass"``, ``"band-stop"``, ``"all-pass"`` or ``"zero"``.
        dc: float64 ``(heads,)``, the symbol at zero frequency, ``Σ K``: the gain of a constant image.
        nyquist: float64 ``(heads,)``, the symbol at (π, …, π), ``Σ (−1)^(Σδ_d) K[δ]``: the gain of a checkerboard.
        peak: float64 ``(heads,)``, the largest ``|a(θ)|`` on a fine grid of frequencies.
        peak_frequency: float64 ``(heads, D)``, where, in rad/token.
        band: float64 ``(heads, D, 2)``, from the peak along each axis, the frequencies in [0, π] at which the power
            ``|a|²`` has fallen to half the peak's, below and above it; 0 or π where it never does.
    """

    kind: tuple[str, ...]
    dc: Tensor
    nyquist: Tensor
    peak: Tensor
    peak_frequency: Tensor
    band: Tensor

    @property
    def half_power(self) -> Tensor:
        """``(heads, D)`` in rad/token: the upper band edge; of a high-pass filter, the lower one."""
        high = torch.tensor([kind == "high-pass" for kind in self.kind], device=self.band.device)
        return torch.where(high[:, None], self.band[..., 0], self.band[..., 1])


def passband(kernel: Tensor) -> Passband:
    """Classify each head's kernel by where its gain is within half the power of its peak.

    Low-pass: at zero frequency and not at Nyquist's (π, …, π); high-pass: the other way round; band-pass: at neither;
    all-pass: everywhere; band-stop: at both, yet not everywhere between.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.

    Returns:
        Kind, gains and band edges of each head.

    Raises:
        ValueError: If the kernel has an even side.
    """
    kernel, ndim = kernel.detach(), kernel.ndim - 1
    ends = torch.tensor([[0.0] * ndim, [math.pi] * ndim], dtype=torch.float64, device=kernel.device)
    dc, nyquist = symbol(kernel, ends).real.unbind(dim=1)
    sizes = dense_sizes(Grid([(side + 1) // 2 for side in kernel.shape[1:]]))
    gain = sampled_symbol(kernel, sizes).abs().flatten(1)
    theta = frequencies(sizes, kernel.device).reshape(-1, ndim)
    theta = torch.where(theta <= -math.pi, math.pi, theta)
    peak, peak_frequency = gain.amax(dim=1), []
    for row, top in zip(gain, peak, strict=True):
        highest = theta[row >= top * (1 - 1e-12)]
        # Of equal peaks (θ and −θ always are) the one nearest to 0, then the one of positive frequencies.
        rank = highest.norm(dim=1) - 1e-6 * (highest * torch.arange(ndim, 0, -1, device=theta.device)).sum(dim=1)
        peak_frequency.append(highest[rank.argmin()])
    kind = [
        _kind(*(float(v) for v in (d.abs(), n.abs(), row.min(), p)))
        for d, n, row, p in zip(dc, nyquist, gain, peak, strict=True)
    ]
    band = [
        [[_edge(kernel[h : h + 1], peak_frequency[h], axis, float(peak[h]), end) for end in (0.0, math.pi)]
         for axis in range(ndim)]
        for h in range(kernel.shape[0])
    ]  # fmt: skip
    return Passband(tuple(kind), dc, nyquist, peak, torch.stack(peak_frequency), dc.new_tensor(band))


def _kind(dc: float, nyquist: float, lowest: float, peak: float) -> str:
    if peak == 0:
        return "zero"
    half = peak / math.sqrt(2)
    if lowest >= half:
        return "all-pass"
    names = {(True, False): "low-pass", (False, True): "high-pass", (False, False): "band-pass"}
    return names.get((dc >= half, nyquist >= half), "band-stop")


def _edge(kernel: Tensor, peak_frequency: Tensor, axis: int, peak: float, end: float) -> float:
    """The half-power frequency of one head on the way from its peak to ``end`` along an axis; ``end`` if there is none.

    Each round looks at ``_PARTS`` frequencies of the bracket at once and keeps the first step that leaves the band.
    """
    sign = -1.0 if float(peak_frequency[axis]) < 0 else 1.0
    inside, outside = abs(float(peak_frequency[axis])), end
    for _ in range(_ROUNDS):
        line = torch.linspace(inside, outside, _PARTS + 1, dtype=peak_frequency.dtype, device=kernel.device)
        sites = peak_frequency.repeat(line.numel(), 1)
        sites[:, axis] = sign * line
        below = symbol(kernel, sites)[0].abs() < peak / math.sqrt(2)
        first = int(below.to(torch.uint8).argmax())
        if first == 0:
            return end
        inside, outside = float(line[first - 1]), float(line[first])
    return (inside + outside) / 2
