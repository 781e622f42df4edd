"""Gaussians of the offset: the paper's mixture mask, its single component, and ConViT's positional attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.kernels.parameters import as_parameter, check, device_of, per_head, prepare, result_dtype

#: ε of the reference code, in squared tokens: the variance is σ² + ε, so that σ = 0 is a delta and not a division by 0.
GAUSSIAN_EPSILON = 1e-5


def gaussian(offset: Tensor, sigma: Tensor | float) -> Tensor:
    """One Gaussian per head, ``K[δ] = exp(−‖δ‖² / 2(σ² + ε))`` with ε = 1e-5.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        sigma: Number or ``(heads,)``, in tokens; its sign is irrelevant.

    Returns:
        ``(heads, *S)`` in sigma's dtype, computed in float64.

    Raises:
        ValueError: If sigma is not finite.

    Example:
        >>> gaussian(retconv.Grid(3).offsets(), 1.0)
        tensor([[0.1353, 0.6065, 1.0000, 0.6065, 0.1353]])
    """
    dtype = result_dtype(sigma)
    sigma = as_parameter(sigma, "sigma", device=device_of(offset))
    return gaussian_mixture(offset, sigma[:, None], torch.ones_like(sigma)[:, None]).to(dtype)


def gaussian_mixture(offset: Tensor, sigma: Tensor | float, alpha: Tensor | float) -> Tensor:
    """The Gaussian mixture mask, ``K[δ] = Σ_k α_k exp(−‖δ‖² / 2(σ_k² + ε))`` with ε = 1e-5.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        sigma: Number or ``(heads, components)``, in tokens; its sign is irrelevant.
        alpha: Number or ``(heads, components)``, any real weight.

    Returns:
        ``(heads, *S)`` in the parameters' dtype, computed in float64.

    Raises:
        ValueError: If a parameter is not finite or the shapes disagree.

    Source:
        Li and Zhang 2023 (arXiv 2309.05375), Gaussian mixture mask. The authors' code computes
        ``exp(−d²)^(1/2)`` in float32 and raises it to ``1 / (σ² + ε)``: every pair with d² ≥ 104 is then a wrong zero
        whatever σ is. Here the exponents are combined before the one ``exp``.

    Example:
        >>> sigma, alpha = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.75], [0.25]])  # two Gaussians, one head
        >>> gaussian_mixture(retconv.Grid(2).offsets(), sigma, alpha)
        tensor([[0.4549, 0.7500, 0.4549],
                [0.2365, 0.2500, 0.2365]])
    """
    dtype = result_dtype(sigma, alpha)
    sigma = as_parameter(sigma, "sigma", axes=2, device=device_of(offset))
    alpha = as_parameter(alpha, "alpha", axes=2, device=device_of(offset))
    if sigma.shape[1] != alpha.shape[1] and 1 not in (sigma.shape[1], alpha.shape[1]):
        raise ValueError(
            "sigma and alpha must have the same number of components, got "
            f"{tuple(sigma.shape)} and {tuple(alpha.shape)}"
        )
    offset, (sigma, alpha) = prepare(offset, sigma, alpha)
    return mixture(offset.square().sum(dim=-1), sigma, alpha).to(dtype)


def bumps(squared: Tensor, sigma: Tensor) -> Tensor:
    """Every Gaussian ``exp(−d² / 2(σ² + ε))``, ``(heads, components, *S)``, of squared distances ``(*S)``.

    Like ``mixture`` it is for parameters that are a module's own: in the computing dtype, not looked at.
    """
    return torch.exp(squared * per_head(-0.5 / (sigma.square() + GAUSSIAN_EPSILON), squared.ndim))


def mixture(squared: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
    """``Σ_k α_k exp(−d² / 2(σ_k² + ε))``, ``(heads, *S)``."""
    return (per_head(alpha, squared.ndim) * bumps(squared, sigma)).sum(dim=1)


def log_mixture(squared: Tensor, sigma: Tensor, alpha: Tensor) -> Tensor:
    """``log Σ_k α_k exp(−d² / 2(σ_k² + ε))``, ``(heads, *S)``: −∞ where the sum is 0, NaN where it is negative.

    The largest exponent is taken out first, so that nothing underflows: far away the widest Gaussian is left.
    """
    exponent = squared * per_head(-0.5 / (sigma.square() + GAUSSIAN_EPSILON), squared.ndim)
    weight = per_head(alpha, squared.ndim)
    # A Gaussian of weight 0 leaves nothing anywhere, however wide; if all are such, what is taken out does not matter.
    seen = exponent.detach().masked_fill(weight == 0, -torch.inf)
    top = seen.amax(dim=1, keepdim=True)
    top = top.masked_fill(top == -torch.inf, 0.0)
    # Its gradient may be beyond the largest number.
    rest = (exponent - top).clamp(max=math.log(torch.finfo(exponent.dtype).max) / 2)
    total = (weight * torch.exp(rest)).sum(dim=1)
    if not total.requires_grad:
        return total.log_().add_(top[:, 0])
    hidden = total == 0
    # Its logarithm has the gradient 1/0 · 0, which is NaN: such entries leave the graph.
    return top[:, 0] + total.masked_fill(hidden, 1.0).log().masked_fill(hidden, -torch.inf)


def gpsa(offset: Tensor, alpha: Tensor | float, center: Tensor | None = None) -> Tensor:
    """ConViT's positional scores, ``−α (‖δ − Δ‖² − ‖Δ‖²)``: a bias on logits whose softmax is a Gaussian around Δ.

    With ``α = 1 / 2σ²`` and Δ = 0 it is the logarithm of a Gaussian of width σ.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        alpha: Number or ``(heads,)``, locality strength in tokens⁻², at least 0.
        center: ``(heads, D)``, the offset Δ that each head attends to, in tokens; 0 if not given.

    Returns:
        ``(heads, *S)`` logits, to be added to scores.

    Raises:
        ValueError: If a parameter is not finite, alpha is negative, or center has another number of axes.

    Source:
        d'Ascoli et al. 2021, ConViT (arXiv 2103.10697), section 2, after Cordonnier et al. 2020 (arXiv 1911.03584):
        ``v = −α (1, −2Δ_1, −2Δ_2)``, ``r_δ = (‖δ‖², δ_1, δ_2)``.

    Example:
        >>> right = torch.tensor([[0, 1]])  # a head that looks at the token to its right
        >>> gpsa(torch.tensor([[0, 0], [0, 1], [0, 2]]), 1.0, right).tolist()
        [[-0.0, 1.0, -0.0]]
    """
    dtype = result_dtype(alpha, center)
    alpha = as_parameter(alpha, "alpha", device=device_of(offset))
    check(alpha, "alpha", alpha >= 0, "must be at least 0")
    if center is None:
        center = torch.zeros(1, offset.shape[-1], dtype=alpha.dtype, device=device_of(offset))
    center = as_parameter(center, "center", axes=2, device=device_of(offset))
    if center.shape[1] != offset.shape[-1]:
        raise ValueError(f"center must have shape (heads, {offset.shape[-1]}), got {tuple(center.shape)}")
    offset, (alpha, center) = prepare(offset, alpha, center)
    return positional(offset, alpha, center).to(dtype)


def positional(offset: Tensor, alpha: Tensor, center: Tensor) -> Tensor:
    """``−α (‖δ − Δ‖² − ‖Δ‖²)``, ``(heads, *S)``, of offsets ``(*S, D)``.

    Like ``mixture`` it is for parameters that are a module's own: in the computing dtype, not looked at.
    """
    # δ · Δ as a sum and no matrix product: it is no part of attention's operations, which are counted by those.
    axes = offset.ndim - 1
    projection = sum(per_head(center[:, d], axes) * offset[..., d] for d in range(offset.shape[-1]))
    return per_head(-alpha, axes) * (offset.square().sum(dim=-1) - 2 * projection)
