"""Kernels that go round a torus: the sums of all images, in closed form or to the last bit (law 23)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.gaussians import GAUSSIAN_EPSILON
from retconv.kernels.parameters import as_parameter, check, compute_dtype, per_head, prepare, result_dtype
from retconv.precision import as_written

#: Images on each side of a Gaussian, or waves of its dual sum: whichever of the two sums is taken, the first term that
#: is left out is below ``exp(−20 π) < 1e-27`` of the smallest value.
IMAGES = 4


def wrapped_decay(grid: GridLike, gamma: Tensor | float) -> Tensor:
    """Manhattan decay that goes round every periodic axis: ``Σ_j γ^|δ + jn| = (γ^|δ| + γ^(n − |δ|)) / (1 − γ^n)``.

    Along open axes it is ``γ^|δ|``. Its exponents are negative, so that nothing overflows; the sum is exact.

    Args:
        grid: The grid; prefix tokens are left out.
        gamma: Number or ``(heads,)``, in (0, 1): at 1 the sum of the images diverges.

    Returns:
        ``(heads, *grid.kernel_shape)`` in gamma's dtype, computed in float64. On a torus its DFT is the symbol of the
        two-sided decay (law 7) at ``2π j / n``, hence positive.

    Raises:
        ValueError: If gamma is not finite or outside (0, 1).

    Source:
        Two geometric series, of the images on each side.

    Example:
        >>> wrapped_decay(Grid(3, periodic=True), 0.5)  # (1/2 + 1/4) / (1 − 1/8) beside the diagonal
        tensor([[0.8571, 1.2857, 0.8571]])
    """
    grid = Grid.of(grid)
    dtype = result_dtype(gamma)
    gamma = as_parameter(gamma, "gamma")
    check(gamma, "gamma", (gamma > 0) & (gamma < 1), "must lie in (0, 1) to be summed over images")
    offset, (gamma,) = prepare(grid.offsets(gamma.device).abs(), gamma)
    rate = per_head(-gamma.log(), grid.ndim)
    kernel = torch.exp(-rate * offset.sum(dim=-1))
    for axis, (n, ring) in enumerate(zip(grid.shape, grid.periodic, strict=True)):
        if ring:
            kernel = kernel * (1 + torch.exp(-rate * (n - 2 * offset[..., axis]))) / -torch.expm1(-rate * n)
    return kernel.to(dtype)


def wrapped_gaussian(grid: GridLike, sigma: Tensor | float, alpha: Tensor | float | None = None) -> Tensor:
    """Gaussian mixture that goes round every periodic axis: ``Σ_k α_k ∏_d Σ_j exp(−(δ_d + j n_d)² / 2s_k²)``.

    With ``s² = σ² + ε``, ε = 1e-5. Along each ring it is a theta function. Nine images are summed where
    ``s ≤ n / √(2π)``, else as many waves of Poisson's dual sum,
    ``(√(2π) s / n) Σ_m exp(−2π² m² s² / n²) cos(2π m δ / n)``: what is left out is below 1e-27 of every value, for
    every width.

    Args:
        grid: The grid; prefix tokens are left out. Along open axes each Gaussian is as it is.
        sigma: Number or ``(heads, components)``, in tokens; its sign is irrelevant.
        alpha: Number or ``(heads, components)``, any real weight; 1 if not given.

    Returns:
        ``(heads, *grid.kernel_shape)`` in the parameters' dtype, computed in float64. With α > 0 it is positive
        definite (laws 9 and 11), as the Gaussian of the torus distance need not be.

    Raises:
        ValueError: If a parameter is not finite or the shapes disagree.

    Source:
        Jacobi's identity of the theta function θ_3, Poisson summation of law 9.

    Example:
        >>> wrapped_gaussian(Grid(4, periodic=True), 0.5)  # exp(−2) beside the diagonal, twice exp(−8) opposite
        tensor([[1.3535e-01, 1.0000e+00, 1.3535e-01, 6.7114e-04]])
    """
    grid = Grid.of(grid)
    dtype = result_dtype(sigma, alpha)
    sigma = as_parameter(sigma, "sigma", axes=2)
    alpha = as_parameter(1.0 if alpha is None else alpha, "alpha", axes=2, device=sigma.device)
    if sigma.shape[1] != alpha.shape[1] and 1 not in (sigma.shape[1], alpha.shape[1]):
        raise ValueError(f"sigma and alpha have {sigma.shape[1]} and {alpha.shape[1]} components: give as many, or 1")
    _, (width, weight) = prepare(grid.offsets(sigma.device), sigma, alpha)
    variance = (width.square() + GAUSSIAN_EPSILON)[..., None]  # shape: (heads, components, 1)
    lines = [_line(n, ring, variance) for n, ring in zip(grid.shape, grid.periodic, strict=True)]
    names = "xyz"[: grid.ndim]
    with as_written(variance.device):
        kernel = torch.einsum(",".join(["hc", *(f"hc{x}" for x in names)]) + f"->h{names}", weight, *lines)
    return kernel.to(dtype)


def _line(n: int, ring: bool, variance: Tensor) -> Tensor:
    """The Gaussians along one axis, ``(heads, components, entries)``."""
    offset = Grid(n, periodic=ring).offsets(variance.device)[:, 0].to(compute_dtype(variance.device))
    if not ring:
        return torch.exp(-offset.square() / (2 * variance))
    images = torch.arange(-IMAGES, IMAGES + 1, device=offset.device, dtype=offset.dtype)[:, None] * n
    near = torch.exp(-(offset + images).square() / (2 * variance[..., None])).sum(dim=-2)
    theta = 2 * math.pi / n * torch.arange(1, IMAGES + 1, device=offset.device, dtype=offset.dtype)[:, None]
    waves = torch.exp(-theta.square() * variance[..., None] / 2) * torch.cos(theta * offset)
    wide = (2 * math.pi * variance).sqrt() / n * (1 + 2 * waves.sum(dim=-2))
    return torch.where(2 * math.pi * variance <= n * n, near, wide)
