"""Which frequencies a mask lets through: low-, band- or high-pass, with its gains and band edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.analysis.spectrum.symbols import dense_sizes, sampled_gain, symbol
from retconv.grid import Grid

#: The first look for an edge is at so many frequencies for each entry of a line, so as to miss no ripple.
_RIPPLE = 4
#: Each round after it divides the bracket into so many parts.
_PARTS = [16] * 10


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

    Example:
        >>> kernel = retconv.kernels.gaussian(retconv.Grid(9).offsets(), 2.0)
        >>> retconv.analysis.spectrum.passband(kernel).kind
        ('low-pass',)
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

    Example:
        >>> passband(torch.tensor([[0.5, 1.0, 0.5], [-0.5, 1.0, -0.5]])).kind
        ('low-pass', 'high-pass')
    """
    kernel, ndim = kernel.detach(), kernel.ndim - 1
    ends = torch.tensor([[0.0] * ndim, [math.pi] * ndim], dtype=torch.float64, device=kernel.device)
    dc, nyquist = symbol(kernel, ends).real.unbind(dim=1)
    sizes = dense_sizes(Grid([(side + 1) // 2 for side in kernel.shape[1:]]))
    gain, theta = sampled_gain(kernel, sizes)
    peak = gain.amax(dim=1)
    where = peak.new_empty(len(peak), ndim)
    for h, (row, top) in enumerate(zip(gain, peak, strict=True)):
        half = theta[row >= top * (1 - 1e-12)]
        highest = torch.cat([half, torch.where(half < math.pi, -half, half)])
        # Of equal peaks (θ and −θ always are) the one nearest to 0, then the one of positive frequencies.
        rank = highest.norm(dim=1) - 1e-6 * (highest * torch.arange(ndim, 0, -1, device=theta.device)).sum(dim=1)
        where[h] = highest[rank.argmin()]
    kind = [
        _kind(*(float(v) for v in (d.abs(), n.abs(), row.min(), p)))
        for d, n, row, p in zip(dc, nyquist, gain, peak, strict=True)
    ]
    band = torch.stack([_edges(kernel, where, peak, axis) for axis in range(ndim)], dim=1)
    return Passband(tuple(kind), dc, nyquist, peak, where, band)


def _kind(dc: float, nyquist: float, lowest: float, peak: float) -> str:
    if peak == 0:
        return "zero"
    half = peak / math.sqrt(2)
    if lowest >= half:
        return "all-pass"
    names = {(True, False): "low-pass", (False, True): "high-pass", (False, False): "band-pass"}
    return names.get((dc >= half, nyquist >= half), "band-stop")


def _edges(kernel: Tensor, peak_frequency: Tensor, peak: Tensor, axis: int) -> Tensor:
    """Half-power frequencies of each head on the ways from its peak along an axis to 0 and to π: ``(heads, 2)``.

    One transform gives the step of a fine grid that leaves the band; each round looks at several frequencies of that
    bracket at once and keeps the first step that does.
    """
    line, start = _along(kernel, peak_frequency, axis), peak_frequency[:, axis]
    line, start = torch.where(start[:, None] < 0, line.flip(1), line), start.abs()
    offset = torch.arange(line.shape[1], device=line.device) - line.shape[1] // 2
    size = _RIPPLE * line.shape[1]
    fine = torch.linspace(0, math.pi, size + 1, dtype=start.dtype, device=start.device)
    wave = line.new_zeros(len(line), 2 * size).index_add(1, offset % (2 * size), line)
    out = (torch.fft.ifft(wave).abs() * (2 * size))[:, : size + 1] < peak[:, None] / math.sqrt(2)
    below = torch.where(out & (fine < start[:, None]), fine, -math.inf).amax(dim=1)
    above = torch.where(out & (fine > start[:, None]), fine, math.inf).amin(dim=1)
    inside = torch.stack([(below + fine[1]).minimum(start), (above - fine[1]).maximum(start)], dim=1)
    outside, ends = torch.stack([below, above], dim=1), fine[[0, -1]].expand(len(start), 2)
    fallen = outside.isfinite()
    inside, outside = inside.where(fallen, ends), outside.where(fallen, ends)
    for parts in _PARTS:
        steps = torch.linspace(0, 1, parts + 1, dtype=start.dtype, device=start.device)
        theta = inside[..., None] + (outside - inside)[..., None] * steps  # shape: (heads, 2, parts + 1)
        angle = theta[..., None] * offset
        gain = (torch.polar(torch.ones_like(angle), angle) @ line[:, None, :, None])[..., 0].abs()
        first = (gain < peak[:, None, None] / math.sqrt(2)).to(torch.uint8).argmax(dim=2, keepdim=True)
        inside = theta.gather(2, (first - 1).clamp(min=0))[..., 0]
        outside = theta.gather(2, first)[..., 0]
    return torch.where(fallen, (inside + outside) / 2, ends)


def _along(kernel: Tensor, peak_frequency: Tensor, axis: int) -> Tensor:
    """Each head's kernel of one axis, complex ``(heads, 2 n − 1)``, with the other frequencies held at the peak's."""
    line = kernel.to(torch.promote_types(peak_frequency.dtype, torch.complex64))
    # The last axis first: what is left of the others keeps its place.
    for other in reversed(range(kernel.ndim - 1)):
        if other != axis:
            side = kernel.shape[other + 1]
            angle = peak_frequency[:, other, None] * (torch.arange(side, device=kernel.device) - side // 2)
            phase = torch.polar(torch.ones_like(angle), angle)
            shape = [len(phase)] + [side if d == other else 1 for d in range(line.ndim - 1)]
            line = (line * phase.reshape(shape)).sum(dim=other + 1)
    return line
