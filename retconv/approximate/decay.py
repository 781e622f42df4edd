"""A kernel as a decay mask: the RetNet, or its two-sided relative, that comes nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.boundary import check_table
from retconv.approximate.certificate import Approximation, certify, double
from retconv.approximate.shells import Shells, relative_residual, shells
from retconv.approximate.variable_projection import Array, Model, Solution, solve
from retconv.grid import Grid
from retconv.masks import DecayMask, RetNetMask
from retconv.names import unknown

DecayMetric = Literal["manhattan", "euclidean", "two_sided", "causal"]

#: Values of γ from which each search starts.
STARTS = (0.1, 0.4, 0.7, 0.9, 0.97, 0.99, 0.999, 0.9999)
#: Slowest and fastest rate −log γ that is searched: γ from 1 − 1e-9, flat on any grid, to 1e-22, the delta.
SLOWEST, FASTEST = 1e-9, 50.0


@dataclass(frozen=True, repr=False)
class DecayFit(Approximation):
    """A kernel fitted by a multiple of a decay.

    Attributes:
        gamma: γ, float64 ``(heads,)`` on the CPU.
        scale: c, float64 ``(heads,)`` on the CPU; 1 if the kernel is a decay itself.
        residual: ``‖K − K'‖₂ / ‖K‖₂``, what the fit makes small; float64 ``(heads,)``.
        mask: The fitted module, without the scale: K' is ``scale · mask.kernel(grid)``.

    Example:
        >>> fit = retconv.approximate.fit_decay(retconv.DecayMask(heads=1, gamma=0.75).kernel(retconv.Grid((5, 5))))
        >>> fit.mask(3)
        tensor([[[1.0000, 0.7500, 0.5625],
                 [0.7500, 1.0000, 0.7500],
                 [0.5625, 0.7500, 1.0000]]])
    """

    gamma: Tensor
    scale: Tensor
    residual: Tensor
    mask: DecayMask | RetNetMask


@host()
def fit_decay(kernel: Tensor, metric: DecayMetric = "manhattan") -> DecayFit:
    """Fit ``K[δ] ≈ c γ^‖δ‖`` head by head, least squares over all offsets.

    Given γ, the scale c is linear and solved for exactly (variable projection); only γ is searched, as
    ``log(−log γ)``, from several starts. A decay is recovered: γ, and c = 1.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        metric: ``"manhattan"`` or ``"euclidean"`` on any grid; ``"two_sided"`` (γ^|δ|) or ``"causal"`` (RetNet's
            γ^(−δ) for δ ≤ 0, else 0) on a line.

    Returns:
        The decay's kernel, its certificate (an ℓ1 distance, while the fit minimises the ℓ2 distance), γ, scale,
        residual and mask.

    Raises:
        ValueError: If the kernel is not a real finite table, the metric is unknown, or it is for lines and the table
            has several axes.

    Example:
        >>> kernel = 3 * retconv.DecayMask(heads=1, gamma=0.75).kernel(retconv.Grid((5, 5)))
        >>> fit = fit_decay(kernel)
        >>> round(fit.gamma.item(), 4), round(fit.scale.item(), 4)
        (0.75, 3.0)
    """
    check_table(kernel, "fit_decay")
    if metric not in get_args(DecayMetric):
        raise ValueError(f"fit_decay: {unknown('metric', metric, get_args(DecayMetric))}")
    if metric in ("two_sided", "causal") and kernel.ndim != 2:
        raise ValueError(
            f"fit_decay: metric {metric!r} is for lines, got shape {tuple(kernel.shape)}: use 'manhattan' or "
            "'euclidean'"
        )
    grid = Grid(tuple(side // 2 + 1 for side in kernel.shape[1:]))
    distances = shells(kernel, _distance(grid, metric))
    solutions = [_fit(distances, means) for means in distances.means]
    log_rate = torch.tensor(np.array([s.theta[0] for s in solutions]))
    scale = torch.tensor(np.array([s.linear[0] for s in solutions]))
    mask = _mask(log_rate, metric).to(kernel.device, kernel.dtype)
    with torch.no_grad():
        # The module was made in torch's default dtype, which may be coarser than the kernel's.
        mask.log_rate.copy_(log_rate)
    factor = scale.to(kernel.device, kernel.dtype).reshape(-1, *(1,) * grid.ndim)
    fitted = factor * mask.kernel(grid)
    return DecayFit(
        **certify(kernel, fitted),
        gamma=torch.exp(-log_rate.exp()),
        scale=scale,
        residual=relative_residual(double(kernel), double(fitted)),
        mask=mask,
    )


def _distance(grid: Grid, metric: DecayMetric) -> Tensor:
    offsets = grid.offsets()
    if metric == "euclidean":
        return offsets.square().sum(dim=-1).double().sqrt()
    # Offsets of the future have no distance for a causal decay: it is 0 there whatever γ is.
    return -offsets[..., 0] if metric == "causal" else offsets.abs().sum(dim=-1)


def _mask(log_rate: Tensor, metric: DecayMetric) -> DecayMask | RetNetMask:
    gamma = torch.exp(-log_rate.exp())
    if metric == "causal":
        return RetNetMask(len(gamma), gamma)
    return DecayMask(len(gamma), metric, gamma)


def _fit(distances: Shells, means: Array) -> Solution:
    """One head: θ = log(−log γ)."""
    distance = distances.distance[:, None]

    def basis(theta: Array) -> Array:
        return np.exp(-distance * np.exp(theta))

    def slopes(theta: Array, linear: Array) -> Array:
        rate = distance * np.exp(theta)
        return -linear * rate * np.exp(-rate)

    model = Model(basis, slopes, (np.array([np.log(SLOWEST)]), np.array([np.log(FASTEST)])))
    starts = [np.log(-np.log([gamma])) for gamma in STARTS]
    return solve(model, means, starts, distances.count)
