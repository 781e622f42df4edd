"""A kernel as a Gaussian mixture mask: the paper's mask that comes nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.boundary import check_count, check_table
from retconv.approximate.certificate import Approximation, certify, double
from retconv.approximate.shells import Shells, relative_residual, shells
from retconv.approximate.variable_projection import Array, Model, Solution, solve
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON
from retconv.masks import GaussianMixtureMask

#: Narrowest standard deviation that is searched, in tokens: at 0.1 a neighbour has weight 2·10⁻²², the delta itself.
NARROWEST = 0.1


@dataclass(frozen=True, repr=False)
class GaussianMixtureFit(Approximation):
    """A kernel fitted by a Gaussian mixture.

    Attributes:
        sigma: σ, at least 0 and ascending in each head; float64 ``(heads, components)`` on the CPU.
        alpha: α, float64 ``(heads, components)`` on the CPU.
        residual: ``‖K − K'‖₂ / ‖K‖₂``, what the fit makes small; float64 ``(heads,)``.
        mask: The fitted module, in float32 at least; ``kernel`` is its kernel on the table's grid.

    Example:
        >>> kernel = retconv.kernels.gaussian(retconv.Grid((7, 7)).offsets(), 1.5)
        >>> fit = retconv.approximate.fit_gaussian_mixture(kernel, components=1)
        >>> fit.sigma, fit.mask((7, 7)).shape
        (tensor([[1.5000]], dtype=torch.float64), torch.Size([1, 49, 49]))
    """

    sigma: Tensor
    alpha: Tensor
    residual: Tensor
    mask: GaussianMixtureMask


@host()
def fit_gaussian_mixture(kernel: Tensor, components: int, *, starts: int = 8, seed: int = 0) -> GaussianMixtureFit:
    """Fit ``K[δ] ≈ Σ_c α_c exp(−‖δ‖² / 2(σ_c² + 1e-5))`` head by head, least squares over all offsets.

    Given the widths, the weights α are linear and solved for exactly (variable projection), so that only ``log σ`` is
    searched, from several starts: a geometric ladder of widths, then random ones. A mixture depends on ``‖δ‖²`` alone,
    hence only the kernel's means over offsets of equal length matter, each counted as often as the length occurs.
    A kernel that is such a mixture, with widths that differ and more lengths than parameters, is recovered if a start
    lies near it: the residual says so, and five components of both signs may take more starts. Widths reach 10 times
    the grid's longest side. Two widths may come so near one another that their difference, a derivative of a Gaussian,
    would need huge weights of opposite sign: directions in which Φ is smaller than √eps of the kernel's dtype are left
    out, so that the parameters' own rounding costs √eps at most.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        components: Gaussians per head.
        starts: Searches per head, of which the best counts.
        seed: Of the random starts.

    Returns:
        The mixture's kernel, its certificate (an ℓ1 distance, while the fit minimises the ℓ2 distance), parameters,
        residual and mask.

    Raises:
        ValueError: If the kernel is not a real finite table, or components or starts is not a positive int.

    Source:
        The mask: Li and Zhang 2023 (arXiv 2309.05375), section 3.3.

    Example:
        >>> kernel = retconv.kernels.gaussian(retconv.Grid((7, 7)).offsets(), 1.5)
        >>> fit = fit_gaussian_mixture(kernel, components=1)
        >>> round(fit.sigma.item(), 4), fit.residual.item() < 1e-6
        (1.5, True)
    """
    check_table(kernel, "fit_gaussian_mixture")
    check_count("fit_gaussian_mixture", "components", components)
    check_count("fit_gaussian_mixture", "starts", starts)
    grid = Grid(tuple(side // 2 + 1 for side in kernel.shape[1:]))
    lengths = shells(kernel, grid.offsets().square().sum(dim=-1))
    widest = 10.0 * max(grid.shape)
    cutoff = torch.finfo(kernel.dtype).eps ** 0.5
    solutions = [_fit(lengths, means, components, widest, starts, seed, cutoff) for means in lengths.means]
    variance = torch.tensor(np.array([np.exp(2 * s.theta) for s in solutions]))
    # A head's components may come in any order: the narrowest first.
    order = variance.argsort(dim=1)
    sigma = (variance - GAUSSIAN_EPSILON).clamp(min=0).sqrt().gather(1, order)
    alpha = torch.tensor(np.array([s.linear for s in solutions])).gather(1, order)
    # Weights of both signs may lie beyond a half type whose kernel does not.
    wide = torch.promote_types(kernel.dtype, torch.float32)
    mask = GaussianMixtureMask.from_parameters(sigma.to(kernel.device, wide), alpha.to(kernel.device, wide))
    fitted = mask.kernel(grid).detach().to(kernel.dtype)
    return GaussianMixtureFit(
        **certify(kernel, fitted),
        sigma=sigma,
        alpha=alpha,
        residual=relative_residual(double(kernel), double(fitted)),
        mask=mask,
    )


def _fit(
    lengths: Shells, means: Array, components: int, widest: float, starts: int, seed: int, cutoff: float
) -> Solution:
    """One head: θ = log s of each component, ``s² = σ² + ε``."""
    squared = lengths.distance[:, None]

    def basis(theta: Array) -> Array:
        return np.exp(-0.5 * squared * np.exp(-2 * theta))

    def slopes(theta: Array, linear: Array) -> Array:
        rate = squared * np.exp(-2 * theta)
        return linear * rate * np.exp(-0.5 * rate)

    low, high = np.log(NARROWEST), np.log(widest)
    model = Model(basis, slopes, (np.full(components, low), np.full(components, high)))
    extent = np.log(max(1.0, np.sqrt(lengths.distance.max())))
    ladder = np.linspace(np.log(0.4), extent, components + 2)[1:-1]
    random = np.random.default_rng(seed).uniform(np.log(0.3), extent + 0.5, (starts - 1, components))
    return solve(model, means, [ladder, *np.sort(random, axis=1)], lengths.count, cutoff)
