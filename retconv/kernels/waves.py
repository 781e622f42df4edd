"""Kernels of sinusoids: what rotations and sinusoidal encodings make of an offset on a line or a plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.kernels.parameters import (
    as_parameter,
    check,
    compute_dtype,
    device_of,
    per_head,
    prepare,
    require_tensors,
    result_dtype,
)


def _on_a_line(offset: Tensor, name: str) -> None:
    require_tensors(offset=offset)
    if offset.shape[-1] != 1:
        raise ValueError(f"{name} is defined on 1-D grids, got offsets with {offset.shape[-1]} axes: use rotary")


def rotary(offset: Tensor, angles: Tensor) -> Tensor:
    """What RoPE alone does to equal queries and keys, ``K[δ] = (1/P) Σ_j cos(θ_j · δ)``, P pairs of features.

    Each pair is turned by ``e^{i θ_j · δ}``, a complex number; a query times the same key of unit norm, spread evenly
    over the pairs, leaves the mean of the real parts. Signed and not a decay: it has no logarithm.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        angles: ``(heads, pairs, D)``, θ in radians per token: on a line RoPE's ``base^(−2j/d)``; axial RoPE has zeros
            on one axis, mixed RoPE has none.

    Returns:
        ``(heads, *S)`` in [−1, 1].

    Raises:
        ValueError: If angles is not real and of that shape.

    Source:
        Su et al. 2021, RoFormer (arXiv 2104.09864), section 3.4.3; on planes Heo et al. 2024 (arXiv 2403.13298).

    Example:
        >>> rotary(torch.tensor([[0.0], [1.0]]), torch.tensor([[[math.pi]]])).tolist()
        [[1.0, -1.0]]
    """
    if angles.ndim != 3 or angles.shape[-1] != offset.shape[-1]:
        raise ValueError(f"angles must be (heads, pairs, {offset.shape[-1]}), got shape {tuple(angles.shape)}")
    dtype = result_dtype(angles)
    angles = as_parameter(angles, "angles", axes=3, device=device_of(offset))
    offset, (angles,) = prepare(offset, angles)
    phase = torch.tensordot(angles, offset, dims=([2], [offset.ndim - 1]))
    return phase.cos().mean(dim=1).to(dtype)


def xpos(offset: Tensor, zeta: Tensor | float, angle: Tensor | float) -> Tensor:
    """One pair of features under xPos, causal: ``K[δ] = ζ^(−δ) cos(θ δ)`` for δ ≤ 0, else 0.

    The pair is multiplied by the complex pole ``(ζ e^{iθ})^(−δ)``; this is the real part, what a query that equals its
    key reads. Every axis of heads is one pair.

    Args:
        offset: ``(*S, 1)``, key − query in tokens.
        zeta: Number or ``(heads,)``, ζ in (0, 1]; published: ``((j/(d/2) + 0.4) / 1.4)^(1/512)`` of pair j.
        angle: Number or ``(heads,)``, θ in radians per token; published: ``10000^(−2j/d)``.

    Returns:
        ``(heads, *S)`` in [−1, 1].

    Raises:
        ValueError: If a parameter is not finite, zeta is outside (0, 1], or the offsets are not 1-D.

    Source:
        Sun et al. 2022, a length-extrapolatable transformer (arXiv 2212.10554), section 3; the scale base of 512 is
        that of its code in torchscale.

    Example:
        >>> xpos(torch.tensor([[-2.0], [1.0]]), 0.5, 0.0).tolist()
        [[0.25, 0.0]]
    """
    _on_a_line(offset, "xpos")
    dtype = result_dtype(zeta, angle)
    zeta = as_parameter(zeta, "zeta", device=device_of(offset))
    angle = as_parameter(angle, "angle", device=device_of(offset))
    check(zeta, "zeta", (zeta > 0) & (zeta <= 1), "must lie in (0, 1]")
    offset, (zeta, angle) = prepare(offset, zeta, angle)
    past = offset[..., 0].clamp(max=0)
    sites = past.ndim
    wave = torch.exp(-per_head(zeta.log(), sites) * past) * torch.cos(per_head(angle, sites) * past)
    return torch.where(offset[..., 0] <= 0, wave, torch.zeros((), dtype=wave.dtype, device=wave.device)).to(dtype)


def sandwich(offset: Tensor, scale: Tensor | float, features: int = 128, base: float = 10000.0) -> Tensor:
    """Sandwich's bias, ``K[δ] = (1/s) Σ_j cos(δ / base^(2j/d))``, j = 0 … d/2 − 1: sinusoidal encodings, multiplied.

    Args:
        offset: ``(*S, 1)``, key − query in tokens.
        scale: Number or ``(heads,)``, s > 0; published: ``8h/H``, h = 1 … H.
        features: d, even; published: 128, whatever the width of the model.
        base: Of the frequencies.

    Returns:
        ``(heads, *S)`` logits; at offset 0 it is ``d / 2s``. The paper's causal mask is not included.

    Raises:
        ValueError: If scale is not finite or not positive, features is not even and positive, or the offsets are not
            1-D.

    Source:
        Chi et al. 2023, Sandwich (arXiv 2212.10356), section 5.

    Example:
        >>> sandwich(torch.tensor([[0.0]]), 2.0, features=4).tolist()
        [[1.0]]
    """
    _on_a_line(offset, "sandwich")
    if features < 2 or features % 2:
        raise ValueError(f"features must be even and at least 2, got {features}")
    dtype = result_dtype(scale)
    scale = as_parameter(scale, "scale", device=device_of(offset))
    check(scale, "scale", scale > 0, "must be positive")
    offset, (scale,) = prepare(offset, scale)
    powers = torch.arange(0, features, 2, dtype=compute_dtype(offset.device), device=offset.device) / features
    waves = torch.cos(offset * torch.exp(-math.log(base) * powers)).sum(dim=-1)
    return (waves / per_head(scale, offset.ndim - 1)).to(dtype)


def cosformer(offset: Tensor, length: Tensor | float) -> Tensor:
    """Re-weighting of cosFormer, ``K[δ] = cos(π δ / 2M)``: two exponentials with poles on the unit circle.

    Args:
        offset: ``(*S, 1)``, key − query in tokens.
        length: Number or ``(heads,)``, M > 0 in tokens; published: the length of the sequence, so that no weight is
            negative.

    Returns:
        ``(heads, *S)``.

    Raises:
        ValueError: If length is not finite or not positive, or the offsets are not 1-D.

    Source:
        Qin et al. 2022, cosFormer (arXiv 2202.08791), and its code. It multiplies unnormalised scores of non-negative
        features, ``relu(Q) relu(K)ᵀ``, and each row is then divided by its sum.

    Example:
        >>> cosformer(torch.tensor([[0.0]]), 8.0).tolist()
        [[1.0]]
    """
    _on_a_line(offset, "cosformer")
    dtype = result_dtype(length)
    length = as_parameter(length, "length", device=device_of(offset))
    check(length, "length", length > 0, "must be positive")
    offset, (length,) = prepare(offset, length)
    return torch.cos(0.5 * math.pi * offset[..., 0] / per_head(length, offset.ndim - 1)).to(dtype)
