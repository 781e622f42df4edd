"""Decay: powers of gamma of a distance, from RetNet's causal mask to RMT's Manhattan mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.exponentials import Exponentials
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
from retconv.kernels.separable import Separable


def _power(offset: Tensor, distance: Tensor, gamma: Tensor | float) -> Tensor:
    dtype = result_dtype(gamma)
    gamma = as_parameter(gamma, "gamma", device=device_of(offset))
    check(gamma, "gamma", (gamma > 0) & (gamma <= 1), "must lie in (0, 1]")
    distance, (gamma,) = prepare(distance.unsqueeze(-1), gamma)
    return power(distance[..., 0], -gamma.log()).to(dtype)


def power(distance: Tensor, rate: Tensor) -> Tensor:
    """``γ^d = exp(−d r)`` of the rate ``r = −log γ``: one exp of one product, so no power of a rounded power.

    It is for rates that are a module's own: in the computing dtype, not looked at.

    Args:
        distance: ``(*S)``.
        rate: ``(heads,)``.

    Returns:
        ``(heads, *S)``.
    """
    return torch.exp(distance * per_head(-rate, distance.ndim))


def _require_1d(offset: Tensor, name: str) -> None:
    require_tensors(offset=offset)
    if offset.shape[-1] != 1:
        raise ValueError(
            f"{name} is defined on 1-D grids, got offsets with {offset.shape[-1]} axes: use manhattan_decay or "
            "euclidean_decay"
        )


def causal_decay(offset: Tensor, gamma: Tensor | float) -> Tensor:
    """RetNet's one-sided decay, ``K[δ] = γ^(−δ)`` for δ ≤ 0, else 0.

    A query sees itself with weight 1 and the past with weight γ per step: ``D[n, m] = γ^(n−m), n ≥ m``.

    Args:
        offset: ``(*S, 1)``, key − query in tokens.
        gamma: Number or ``(heads,)``, in (0, 1]; 1 is the causal mask without decay.

    Returns:
        ``(heads, *S)`` in gamma's dtype, computed in float64.

    Raises:
        ValueError: If gamma is not finite or outside (0, 1], or the offsets are not 1-D.

    Source:
        Sun et al. 2023, Retentive Network (arXiv 2307.08621), eq. (5).

    Example:
        >>> causal_decay(retconv.Grid(3).offsets(), 0.5).tolist()
        [[0.25, 0.5, 1.0, 0.0, 0.0]]
    """
    _require_1d(offset, "causal_decay")
    decay = _power(offset, offset[..., 0].abs(), gamma)
    return torch.where(offset[..., 0] <= 0, decay, torch.zeros((), dtype=decay.dtype, device=decay.device))


def two_sided_decay(offset: Tensor, gamma: Tensor | float) -> Tensor:
    """Two-sided decay on a line, ``K[δ] = γ^|δ|``.

    Args:
        offset: ``(*S, 1)``, key − query in tokens.
        gamma: Number or ``(heads,)``, in (0, 1].

    Returns:
        ``(heads, *S)`` in gamma's dtype, computed in float64.

    Raises:
        ValueError: If gamma is not finite or outside (0, 1], or the offsets are not 1-D.

    Source:
        The bidirectional decay ``D^Bi[n, m] = γ^|n−m|``, Fan et al. 2024, RMT (arXiv 2309.11523), eq. (3).

    Example:
        >>> two_sided_decay(retconv.Grid(3).offsets(), 0.5).tolist()
        [[0.25, 0.5, 1.0, 0.5, 0.25]]
    """
    _require_1d(offset, "two_sided_decay")
    return manhattan_decay(offset, gamma)


def manhattan_decay(offset: Tensor, gamma: Tensor | float) -> Tensor:
    """RMT's spatial decay, ``K[δ] = γ^(|δ_1| + … + |δ_D|)``; separates into one factor per axis (law 8).

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        gamma: Number or ``(heads,)``, in (0, 1].

    Returns:
        ``(heads, *S)`` in gamma's dtype, computed in float64.

    Raises:
        ValueError: If gamma is not finite or outside (0, 1].

    Source:
        Fan et al. 2024, RMT (arXiv 2309.11523), eq. (4).

    Example:
        >>> manhattan_decay(retconv.Grid((2, 2)).offsets(), 0.5).tolist()
        [[[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]]
    """
    require_tensors(offset=offset)
    return _power(offset, offset.abs().sum(dim=-1), gamma)


def euclidean_decay(offset: Tensor, gamma: Tensor | float) -> Tensor:
    """Decay with Euclidean distance, ``K[δ] = γ^‖δ‖₂``; isotropic, and not separable beyond one axis (law 8).

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        gamma: Number or ``(heads,)``, in (0, 1].

    Returns:
        ``(heads, *S)`` in gamma's dtype, computed in float64.

    Raises:
        ValueError: If gamma is not finite or outside (0, 1].

    Source:
        Fan et al. 2026, EVT (arXiv 2604.18549), RMT's decay with this distance.

    Example:
        >>> euclidean_decay(torch.tensor([[3, 4]]), 0.5).item() == 0.5**5
        True
    """
    require_tensors(offset=offset)
    squared = offset.to(compute_dtype(offset.device)).square().sum(dim=-1)
    return _power(offset, squared.sqrt(), gamma)


@dataclass(frozen=True)
class Decay:
    """A decay as itself, which recursions run in O(N): ``γ^‖δ‖₁``, or on one axis RetNet's ``γ^(−δ)``, 0 for δ > 0.

    Attributes:
        gamma: ``(heads,)``, in (0, 1].
        causal: Whether it is RetNet's, 0 for δ > 0.

    Raises:
        ValueError: If gamma is not a tensor of shape ``(heads,)``.

    Example:
        >>> decay = Decay(torch.tensor([0.5]), causal=True)
        >>> decay.kernel(retconv.Grid(3)).tolist()
        [[0.25, 0.5, 1.0, 0.0, 0.0]]
    """

    gamma: Tensor
    causal: bool = False

    def __post_init__(self) -> None:
        """Check the shape; values are a module's own, or looked at where a kernel is made of them."""
        axes = getattr(self.gamma, "ndim", None)
        if axes != 1:
            got = repr(self.gamma) if axes is None else f"shape {tuple(self.gamma.shape)}"
            raise ValueError(f"Decay: gamma must be (heads,), got {got}: give a tensor with a number for each head")

    def require_line(self, grid: Grid) -> None:
        """Raise a ``ValueError`` if it is causal and the grid has several axes, or is a ring, which has no past."""
        if self.causal and grid.ndim != 1:
            raise ValueError(f"a causal decay is a kernel on one axis, got {grid}: use Grid({grid.size})")
        if self.causal:
            grid.require_open("a causal decay", "a ring has no past, use a two-sided decay")

    def kernel(self, grid: Grid) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``."""
        self.require_line(grid)
        return (causal_decay if self.causal else manhattan_decay)(grid.offsets(self.gamma.device), self.gamma)

    def log_kernel(self, grid: Grid) -> Tensor:
        """``‖δ‖₁ log γ``, of the kernel's shape, −∞ where a causal decay is 0."""
        self.require_line(grid)
        log, dtype = self._log(grid)
        return log.to(dtype)

    def factors(self, grid: Grid) -> Separable:
        """One outer product (law 8); γ is not looked at."""
        self.require_line(grid)
        grid.require_open("Decay.factors", "use Decay.kernel")
        logs = [self._log(Grid(n)) for n in grid.shape]
        return Separable(tuple(log.exp().to(dtype)[:, None] for log, dtype in logs))

    def _log(self, grid: Grid) -> tuple[Tensor, torch.dtype]:
        """The logarithm in the computing dtype, and the dtype of gamma."""
        offset = grid.offsets(self.gamma.device)
        distance, (gamma,) = prepare(offset.abs().sum(dim=-1, keepdim=True), self.gamma)
        log = distance[..., 0] * per_head(gamma.log(), grid.ndim)
        return (log.masked_fill(offset[..., 0] > 0, -torch.inf) if self.causal else log), self.gamma.dtype

    def exponentials(self) -> Exponentials:
        """On a line: one exponential with a real pole, so that the fields are real."""
        poles = self.gamma[:, None]
        ones = torch.ones_like(poles)
        return Exponentials(ones, poles) if self.causal else Exponentials(ones, poles, ones, poles)

    def part(self, heads: slice) -> Decay:
        """The decay of some heads."""
        return Decay(self.gamma[heads], self.causal)
