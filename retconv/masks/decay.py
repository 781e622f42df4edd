"""Decay masks: RetNet's causal mask and its two-sided, Manhattan and Euclidean relatives."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from retconv.convert import NotAConvolutionError, kernel_to_mask
from retconv.grid import Grid, GridLike
from retconv.kernels import Decay, Separable, gammas
from retconv.kernels.decay import power
from retconv.kernels.parameters import as_parameter, check, compute_dtype, per_head
from retconv.kernels.tables import distances, past
from retconv.masks.base import Mask, extent
from retconv.names import unknown

Metric = Literal["two_sided", "manhattan", "euclidean"]


class _Decay(Mask):
    """Holds per-head gammas as ``log_rate = log(−log γ)``.

    ``γ = exp(−exp(log_rate))`` lies in (0, 1) for every real ``log_rate``, and resolves in float32 a γ as near to 1 as
    1 − 1e-9, which float32 itself would round to 1.
    """

    log_rate: Tensor  # shape: (heads,)

    def __init__(self, heads: int, gamma: str | float | Tensor, learnable: bool) -> None:
        super().__init__(heads)
        start = gammas(gamma, heads) if isinstance(gamma, str) else as_parameter(gamma, "gamma").detach()
        check(start, "gamma", (start > 0) & (start < 1), "must lie in (0, 1)")
        if start.shape[0] not in (1, heads):
            raise ValueError(f"gamma must be a number or of shape ({heads},), got shape {tuple(start.shape)}")
        log_rate = (-start.double().log()).log().expand(heads).to(torch.get_default_dtype()).clone()
        self.learnable = learnable
        if learnable:
            self.log_rate = nn.Parameter(log_rate)
        else:
            self.register_buffer("log_rate", log_rate)

    @property
    def gamma(self) -> Tensor:
        """``(heads,)``, each in (0, 1), in the computing dtype, differentiable with respect to ``log_rate``."""
        return torch.exp(-self._rate)

    @property
    def _rate(self) -> Tensor:
        """``−log γ``, ``(heads,)``, in the computing dtype."""
        log_rate = self.log_rate.to(compute_dtype(self.log_rate.device))
        info = torch.finfo(log_rate.dtype)
        # Beyond these bounds exp(−exp(·)) would round to 1 or 0, and 0 · ∞ would make its gradient NaN.
        return log_rate.clamp(math.log(info.eps), math.log(-math.log(info.tiny))).exp()

    def _power(self, grid: Grid, metric: str) -> Tensor:
        """``γ^‖δ‖`` on a grid, in the computing dtype."""
        return power(distances(grid.without_prefix(), self.log_rate.device, metric), self._rate)

    def _log(self, grid: Grid, metric: str) -> Tensor:
        """``‖δ‖ log γ`` on a grid, in the computing dtype."""
        distance = distances(grid.without_prefix(), self.log_rate.device, metric)
        return distance * per_head(-self._rate, distance.ndim)

    def _cast(self, kernel: Tensor) -> Tensor:
        return kernel.to(self.log_rate.dtype if self.learnable else self._made)

    def _describe_gamma(self) -> str:
        span = extent(self.gamma, lambda g: f"{g:.6g}" if g < 0.9999 else f"1-{1 - g:.3g}")
        low, _, high = span.partition("…")
        return f"heads={self.heads}, gamma={low if low == high else span}, {'learnable' if self.learnable else 'fixed'}"


class RetNetMask(_Decay):
    """RetNet's causal decay on a 1-D grid, ``M[q, k] = γ^(q−k)`` for k ≤ q, else 0.

    Args:
        heads: Number of heads.
        gamma: A schedule by name (``"retnet"``: ``1 − 2^(−5−h)``; ``"retnet_linspace"``; ``"rmt"``), a number, or a
            tensor ``(heads,)`` in (0, 1).
        learnable: Whether gamma trains (``log_rate`` is then a parameter, else a buffer).
        normalize: Divide each row by the square root of its sum, ``D / √Σ D``, as torchscale does. A normalised mask
            has no kernel (law 17): only ``forward`` serves it.

    Raises:
        ValueError: If a gamma is not finite or outside (0, 1), or there is not one for each head.

    Source:
        Sun et al. 2023 (arXiv 2307.08621), eqs. (5) and (8); normalisation: section 2.2 and torchscale's
        ``RetNetRelPos``.

    Example:
        >>> RetNetMask(heads=1, gamma=0.5)(3).tolist()
        [[[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.25, 0.5, 1.0]]]
    """

    def __init__(
        self, heads: int, gamma: str | float | Tensor = "retnet", learnable: bool = False, normalize: bool = False
    ) -> None:
        super().__init__(heads, gamma, learnable)
        self.normalize = normalize

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2n − 1)``, ``K[δ] = γ^(−δ)`` for δ ≤ 0, else 0.

        Raises:
            NotAConvolutionError: If the mask is normalised by rows.
            ValueError: If the grid is not 1-D.
        """
        if self.normalize:
            raise NotAConvolutionError(
                "a row-normalised RetNet mask has no kernel on a finite grid (law 17): use normalize=False, or "
                "retconv.project(mask(grid), grid) for the nearest convolution"
            )
        return self._cast(self._decay(self._line(grid)))

    def separable(self, grid: GridLike) -> Separable | None:
        """One factor, the kernel itself; None if the mask is normalised."""
        return None if self.normalize else Separable((self.kernel(grid)[:, None],))

    def decay(self, grid: GridLike) -> Decay | None:
        """The causal decay, a one-pole recursion (law 6); None if the mask is normalised."""
        self._line(grid)
        return None if self.normalize else Decay(self.gamma, causal=True)

    def log_kernel(self, grid: GridLike) -> Tensor | None:
        """``−δ log γ`` for δ ≤ 0, else −∞; None if the mask is normalised."""
        grid = self._line(grid)
        if self.normalize:
            return None
        future = past(grid.without_prefix(), self.log_rate.device) == 0
        return self._cast(self._log(grid, "manhattan").masked_fill(future, -torch.inf))

    def forward(self, grid: GridLike) -> Tensor:
        """The mask ``(heads, length, length)``, row-normalised if ``normalize``."""
        grid = self._line(grid)
        if not self.normalize:
            return super().forward(grid)
        mask = kernel_to_mask(self._decay(grid), grid.without_prefix())
        mask = self._cast(mask / mask.sum(dim=-1, keepdim=True).sqrt())
        return nn.functional.pad(mask, (grid.prefix, 0, grid.prefix, 0), value=self.neutral)

    @property
    def _gathers(self) -> bool:
        return not self.normalize

    def extra_repr(self) -> str:
        """Heads, the range of gamma, and whether it is learnt or normalised."""
        return self._describe_gamma() + (", normalize=True" if self.normalize else "")

    def _decay(self, grid: Grid) -> Tensor:
        return self._power(grid, "manhattan") * past(grid.without_prefix(), self.log_rate.device)

    def _line(self, grid: GridLike) -> Grid:
        grid = Grid.of(grid)
        if grid.ndim != 1:
            raise ValueError(
                f"RetNetMask is causal along one axis, got {grid}: use DecayMask on it, or the line Grid({grid.size}) "
                "of its tokens in raster order"
            )
        grid.require_open("RetNetMask", "a ring has no past, use DecayMask")
        return grid


class DecayMask(_Decay):
    """Two-sided decay ``M[q, k] = γ^‖k − q‖`` in a chosen metric.

    Args:
        heads: Number of heads.
        metric: ``"manhattan"`` (RMT; separable, law 8), ``"euclidean"`` (isotropic), or ``"two_sided"`` (1-D grids
            only, where all three agree).
        gamma: A schedule by name (``"rmt"``: ``1 − 2^(−2 − 4h/H)``; ``"retnet"``; ``"retnet_linspace"``), a number, or
            a tensor ``(heads,)`` in (0, 1).
        learnable: Whether gamma trains (``log_rate`` is then a parameter, else a buffer).

    Raises:
        ValueError: If the metric is unknown, a gamma is not finite or outside (0, 1), or there is not one for each
            head.

    Source:
        Fan et al. 2024, RMT (arXiv 2309.11523), eqs. (3) and (4).

    Example:
        >>> DecayMask(heads=1, gamma=0.5)(3).tolist()
        [[[1.0, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 1.0]]]
    """

    def __init__(
        self,
        heads: int,
        metric: Metric = "manhattan",
        gamma: str | float | Tensor = "rmt",
        learnable: bool = False,
    ) -> None:
        if metric not in get_args(Metric):
            raise ValueError(unknown("metric", metric, get_args(Metric)))
        super().__init__(heads, gamma, learnable)
        self.metric: Metric = metric

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, ``K[δ] = γ^‖δ‖``.

        Raises:
            ValueError: If the metric is two-sided and the grid is not 1-D.
        """
        return self._cast(self._power(self._allowed(grid), "euclidean" if self.metric == "euclidean" else "manhattan"))

    def at(self, offset: Tensor) -> Tensor:
        """``γ^‖δ‖`` at any offsets ``(*S, D)``, in tokens and between them: ``(heads, *S)``, for ``rectangular``.

        Raises:
            ValueError: If the metric is two-sided and the offsets have several axes.
        """
        return self._cast(power(self._distance(offset), self._rate))

    def log_at(self, offset: Tensor) -> Tensor:
        """``‖δ‖ log γ`` at any offsets, as in ``at``."""
        distance = self._distance(offset)
        return self._cast(distance * per_head(-self._rate, distance.ndim))

    def _distance(self, offset: Tensor) -> Tensor:
        self._require_line(offset.shape[-1], f"offsets with {offset.shape[-1]} axes")
        offset = offset.to(self.log_rate.device, compute_dtype(self.log_rate.device))
        return offset.norm(dim=-1) if self.metric == "euclidean" else offset.abs().sum(dim=-1)

    def separable(self, grid: GridLike) -> Separable | None:
        """One outer product of two-sided decays (law 8); None on rings, and if Euclidean beyond one axis.

        Raises:
            ValueError: If the metric is two-sided and the grid is not 1-D.
        """
        grid = self._allowed(grid)
        if (self.metric == "euclidean" and grid.ndim > 1) or not grid.is_open:
            return None
        along = {n: self._cast(self._power(Grid(n), "manhattan"))[:, None] for n in set(grid.shape)}
        return Separable(tuple(along[n] for n in grid.shape))

    def decay(self, grid: GridLike) -> Decay | None:
        """The decay itself (laws 7 and 8); None on rings, and for the Euclidean metric beyond one axis.

        Raises:
            ValueError: If the metric is two-sided and the grid is not 1-D.
        """
        grid = self._allowed(grid)
        euclidean = self.metric == "euclidean" and grid.ndim > 1
        return None if euclidean or not grid.is_open else Decay(self.gamma)

    def log_kernel(self, grid: GridLike) -> Tensor | None:
        """``‖δ‖ log γ``.

        Raises:
            ValueError: If the metric is two-sided and the grid is not 1-D.
        """
        return self._cast(self._log(self._allowed(grid), "euclidean" if self.metric == "euclidean" else "manhattan"))

    def _allowed(self, grid: GridLike) -> Grid:
        grid = Grid.of(grid)
        self._require_line(grid.ndim, grid)
        return grid

    def _require_line(self, axes: int, got: object) -> None:
        if self.metric == "two_sided" and axes != 1:
            raise ValueError(f"metric 'two_sided' is for 1-D grids, got {got}: use metric='manhattan' or 'euclidean'")

    def extra_repr(self) -> str:
        """Heads, the range of gamma, whether it is learnt, and the metric."""
        return f"{self._describe_gamma()}, metric={self.metric!r}"
