"""Symbols in closed form: sums over every integer offset, so of kernels on an unbounded grid.

On a grid of n tokens the kernel is cut at offset n − 1; its symbol differs from the closed form by at most the
ℓ1 mass of the tail that is cut (law 12).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.kernels import GAUSSIAN_EPSILON
from retconv.kernels.parameters import as_parameter, check, per_head, prepare

#: Images of the Poisson sum are kept while their exponent s²θ²/2 is below this: exp(−45) is 3e-20.
_LARGEST_EXPONENT = 45.0


def causal_decay_symbol(theta: Tensor, gamma: Tensor | float) -> Tensor:
    """Law 6: RetNet's causal decay is a one-pole filter, ``a(θ) = 1 / (1 − γ z⁻¹)`` with ``z = exp(iθ)``.

    Args:
        theta: ``(*S, 1)`` in rad/token.
        gamma: Number or ``(heads,)``, in (0, 1).

    Returns:
        complex128 ``(heads, *S)``.

    Raises:
        ValueError: If gamma is outside (0, 1), or theta has more than one axis.

    Example:
        >>> causal_decay_symbol(torch.tensor([[0.0], [torch.pi]]), 0.5).abs()
        tensor([[2.0000, 0.6667]], dtype=torch.float64)
    """
    theta, gamma = _decay(theta, gamma)
    if theta.shape[-1] != 1:
        raise ValueError(f"causal_decay_symbol is defined on lines, got theta with {theta.shape[-1]} axes")
    angle = -theta[..., 0]
    return 1 / (1 - gamma * torch.polar(torch.ones_like(angle), angle))


def manhattan_decay_symbol(theta: Tensor, gamma: Tensor | float) -> Tensor:
    """Law 7, and by law 8 its product over axes: ``a(θ) = ∏_d (1 − γ²) / (1 − 2γ cos θ_d + γ²)``.

    On a line this is the symbol of the two-sided decay γ^|δ|. It falls from ``(1+γ)/(1−γ)`` at zero frequency to
    ``(1−γ)/(1+γ)`` at Nyquist's, for each axis.

    Args:
        theta: ``(*S, D)`` in rad/token.
        gamma: Number or ``(heads,)``, in (0, 1).

    Returns:
        Real ``(heads, *S)``.

    Raises:
        ValueError: If gamma is outside (0, 1).

    Example:
        >>> manhattan_decay_symbol(torch.tensor([[0.0, 0.0]]), 0.5).tolist()
        [[9.0]]
    """
    theta, gamma = _decay(theta, gamma)
    gamma = gamma[..., None]
    # 1 − 2γ cos θ + γ² = (1 − γ)² + 4γ sin²(θ/2) does not cancel near θ = 0.
    return ((1 - gamma**2) / ((1 - gamma) ** 2 + 4 * gamma * torch.sin(theta / 2) ** 2)).prod(dim=-1)


def gaussian_symbol(theta: Tensor, sigma: Tensor | float) -> Tensor:
    """Law 9, Poisson summation: ``a(θ) = ∏_d √(2π) s Σ_m exp(−s² (θ_d + 2πm)² / 2)`` with ``s² = σ² + ε``.

    The symbol of a sampled Gaussian is a sum of Gaussians, one for each multiple of 2π; for σ above half a token all
    but the nearest ones vanish.

    Args:
        theta: ``(*S, D)`` in rad/token.
        sigma: Number or ``(heads,)``, in tokens.

    Returns:
        Real ``(heads, *S)``, positive.

    Raises:
        ValueError: If sigma is not finite.

    Example:
        >>> gaussian_symbol(torch.tensor([[0.0], [torch.pi]]), 1.0)
        tensor([[2.5066, 0.0361]], dtype=torch.float64)
    """
    sigma = as_parameter(sigma, "sigma", device=theta.device)
    return gaussian_mixture_symbol(theta, sigma[:, None], torch.ones_like(sigma)[:, None])


def gaussian_mixture_symbol(theta: Tensor, sigma: Tensor | float, alpha: Tensor | float) -> Tensor:
    """The symbol of the Gaussian mixture mask, ``Σ_c α_c`` times that of each Gaussian.

    Args:
        theta: ``(*S, D)`` in rad/token.
        sigma: Number or ``(heads, components)``, in tokens.
        alpha: Number or ``(heads, components)``.

    Returns:
        Real ``(heads, *S)``.

    Raises:
        ValueError: If a parameter is not finite or numbers of heads disagree.

    Example:
        >>> sigma, alpha = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [-0.3]])
        >>> gaussian_mixture_symbol(torch.zeros(1, 1), sigma, alpha)
        tensor([[ 2.5066],
                [-2.2560]], dtype=torch.float64)
    """
    sigma = as_parameter(sigma, "sigma", axes=2, device=theta.device)
    alpha = as_parameter(alpha, "alpha", axes=2, device=theta.device)
    theta, (sigma, alpha) = prepare(theta, sigma, alpha)
    variance = per_head(sigma.square() + GAUSSIAN_EPSILON, theta.ndim)  # (heads, components, 1, …, 1): sites and axes
    axes = _images(theta, variance, torch.zeros_like(theta)).real
    return (per_head(alpha, theta.ndim - 1) * axes.prod(dim=-1)).sum(dim=1)


def gpsa_symbol(theta: Tensor, alpha: Tensor | float, center: Tensor | None = None) -> Tensor:
    """The symbol of ConViT's positional attention, ``softmax_δ(−α ‖δ − Δ‖²)`` away from the border.

    A Gaussian of variance ``1 / 2α`` around Δ, of sum 1: by Poisson summation with a shift it is
    ``∏_d Σ_m exp(iΔ_d (θ_d + 2πm) − (θ_d + 2πm)² / 4α)``, divided by its value at zero frequency. From α = 1 on, where
    these terms begin to cancel beside a Δ between two tokens, the few offsets that matter are summed themselves.

    Args:
        theta: ``(*S, D)`` in rad/token.
        alpha: Number or ``(heads,)``, in tokens⁻², positive: at 0 attention is uniform and has no symbol.
        center: ``(heads, D)``, Δ in tokens; 0 if not given.

    Returns:
        complex128 ``(heads, *S)``, 1 at zero frequency.

    Raises:
        ValueError: If alpha is not positive or center has another number of axes.

    Example:
        >>> gpsa_symbol(torch.zeros(1, 2), 1.0).real.round().tolist()
        [[1.0]]
    """
    alpha = as_parameter(alpha, "alpha", device=theta.device)
    check(alpha, "alpha", alpha > 0, "must be positive for a symbol")
    if center is None:
        center = torch.zeros(1, theta.shape[-1], dtype=alpha.dtype, device=theta.device)
    center = as_parameter(center, "center", axes=2, device=theta.device)
    if center.shape[1] != theta.shape[-1]:
        raise ValueError(f"center must have shape (heads, {theta.shape[-1]}), got {tuple(center.shape)}")
    theta, (alpha, center) = prepare(theta, alpha, center)
    variance = per_head(1 / (2 * alpha.clamp(max=1)), theta.ndim)
    shift = center.reshape(-1, *(1,) * (theta.ndim - 1), theta.shape[-1])
    zero = theta.new_zeros((1,) * (theta.ndim - 1) + theta.shape[-1:])
    wide = _images(theta, variance, shift) / _images(zero, variance, shift)
    narrow = _narrow(theta, per_head(alpha.clamp(min=1), theta.ndim), shift)
    return torch.where(per_head(alpha, theta.ndim) < 1, wide, narrow).prod(dim=-1)


def _narrow(theta: Tensor, alpha: Tensor, shift: Tensor) -> Tensor:
    """``Σ_δ exp(iδθ) softmax_δ(−α (δ − Δ)²)`` for each axis, the last one, over the 15 offsets around Δ, for α ≥ 1."""
    offsets = shift.round() + torch.arange(-7, 8, dtype=shift.dtype, device=shift.device).reshape(
        -1, *(1,) * shift.ndim
    )
    weights = torch.softmax(-alpha * (offsets - shift).square(), dim=0)
    return torch.polar(weights, offsets * theta).sum(dim=0)


def _decay(theta: Tensor, gamma: Tensor | float) -> tuple[Tensor, Tensor]:
    gamma = as_parameter(gamma, "gamma", device=theta.device)
    check(gamma, "gamma", (gamma > 0) & (gamma < 1), "must lie in (0, 1) for a symbol")
    theta, (gamma,) = prepare(theta, gamma)
    return theta, per_head(gamma, theta.ndim - 1)


def _images(theta: Tensor, variance: Tensor, shift: Tensor) -> Tensor:
    """``√(2π) s Σ_m exp(iΔ(θ + 2πm) − s² (θ + 2πm)² / 2)`` for each axis, the last one; theta in any period."""
    theta = torch.remainder(theta + math.pi, 2 * math.pi) - math.pi
    reach = math.ceil(math.sqrt(2 * _LARGEST_EXPONENT / float(variance.detach().min())) / (2 * math.pi) + 0.5)
    total = torch.zeros(torch.broadcast_shapes(theta.shape, variance.shape, shift.shape), dtype=torch.complex128)
    total = total.to(theta.device)
    for m in range(-reach, reach + 1):
        wave = theta + 2 * math.pi * m
        total = total + torch.polar(torch.exp(-variance * wave.square() / 2), shift * wave)
    return torch.sqrt(2 * math.pi * variance) * total
