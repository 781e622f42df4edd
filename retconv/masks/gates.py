"""Modules that read tokens or queries and give masks: ``module(x, grid)`` is a mask of each element of the batch.

They hold what is learnt; what they return, gates or Gaussians, is a mask in any form (see ``Forms``), made anew of
every batch. Prefix tokens make no gates: a mask is neutral there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retconv.grid import Grid, GridLike
from retconv.kernels import Gates, PolylineGates, QueryGaussian
from retconv.kernels.parameters import compute_dtype
from retconv.masks.forms import Forms
from retconv.precision import as_written

#: Between which Δ starts, log-uniformly, and its least value: Mamba-2's and PPMA's code.
STEP_MIN, STEP_MAX, STEP_FLOOR = 1e-3, 0.1, 1e-4


class _Reader(nn.Module):
    """Reads the grid's tokens of ``(batch, …, length, dim)`` by a linear map, autocast or not, in float32 at least."""

    def __init__(self, dim: int, outputs: int, bias: bool, name: str) -> None:
        super().__init__()
        if dim < 1 or outputs < 1:
            raise ValueError(f"{name}: features and outputs must be at least 1, got {dim} and {outputs}")
        self.project = nn.Linear(dim, outputs, bias=bias)

    def read(self, x: Tensor, grid: Grid, axes: int = 3, groups: int = 1) -> Tensor:
        """``(batch, …, N, groups, outputs)`` in the computing dtype, of groups of features one after the other."""
        grid.require_open(type(self).__name__, "what it makes is of a grid with a border, use grid.opened()")
        dim = self.project.in_features * groups
        if x.ndim != axes or x.shape[-2:] != (grid.length, dim) or not x.is_floating_point():
            front = ("batch", "heads")[: axes - 2]
            raise ValueError(
                f"{type(self).__name__}: expected floating ({', '.join(front)}, {grid.length}, {dim}) on {grid}, got "
                f"{tuple(x.shape)} in {x.dtype}"
            )
        x = x[..., grid.prefix :, :].unflatten(-1, (groups, -1)).to(self._dtype(x))
        with as_written(x.device):
            bias = self.project.bias
            logits = F.linear(x, self.project.weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        return logits.to(compute_dtype(x.device))

    def _dtype(self, x: Tensor) -> torch.dtype:
        """Of what the module returns."""
        return torch.promote_types(torch.promote_types(x.dtype, self.project.weight.dtype), torch.float32)


class ForgetGate(_Reader):
    """FoX's forget gate, ``γ_t = sigmoid(w_hᵀ x_t + b_h)`` for each head; placed at ``bias_logits`` it is FoX.

    Args:
        dim: Features of a token.
        heads: Number of heads.

    Raises:
        ValueError: If dim or heads is not positive, or in a call the tokens are not ``(batch, length, dim)``.

    Source:
        Lin et al. 2025, Forgetting Transformer (arXiv 2503.02130), section 3. The logarithm is one log-sigmoid.

    Examples:
        >>> import torch
        >>> from retconv.attention import bias_logits
        >>> from retconv.masks import ForgetGate
        >>> x, q = torch.randn(2, 16, 8), torch.randn(2, 4, 16, 2)
        >>> bias_logits(q, q, q, ForgetGate(8, heads=4)(x, 16), 16).shape
        torch.Size([2, 4, 16, 2])
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads, True, "ForgetGate")

    def forward(self, x: Tensor, grid: GridLike) -> Gates:
        """The gates of tokens ``(batch, length, dim)``, ``(batch, heads, N)``, causal."""
        logits = self.read(x, Grid.of(grid))[..., 0, :]
        return Gates(F.logsigmoid(logits).mT.to(self._dtype(x)))


class _StepGate(_Reader):
    """Gates ``exp(−exp(A) softplus(w·x + b))`` with A and b of each head, of which there is one, and Mamba's start."""

    def __init__(self, dim: int, outputs: int, heads: int, largest: float, name: str) -> None:
        super().__init__(dim, outputs, False, name)
        low, high = math.log(STEP_MIN), math.log(STEP_MAX)
        step = torch.empty(heads, dtype=torch.float64).uniform_(low, high).exp().clamp(min=STEP_FLOOR)
        rate = torch.empty(heads, dtype=torch.float64).uniform_(1, largest)
        dtype = torch.get_default_dtype()
        self.step_bias = nn.Parameter((step + torch.log(-torch.expm1(-step))).to(dtype))  # softplus of it is the step
        self.log_rate = nn.Parameter(rate.log().to(dtype))

    def gates(self, logits: Tensor, dtype: torch.dtype) -> Tensor:
        """``(…, N, heads)`` to their logarithms ``(…, heads, N)``."""
        step = _softplus(logits + self.step_bias.to(logits.dtype))
        return (-self.log_rate.to(logits.dtype).exp() * step).mT.to(dtype)


class SSDGate(_StepGate):
    """Mamba-2's gate, ``γ_t = exp(−exp(A_h) Δ_t)`` with ``Δ_t = softplus(w_hᵀ x_t + b_h)``, for each head.

    At its start exp(A) is uniform in [1, 16] and softplus(b) log-uniform in [0.001, 0.1]. Mamba-2 also multiplies what
    enters the state by Δ_t: that is part of its values, not of the mask, and left to the caller.

    Args:
        dim: Features of a token.
        heads: Number of heads.

    Raises:
        ValueError: If dim or heads is not positive, or in a call the tokens are not ``(batch, length, dim)``.

    Source:
        Dao and Gu 2024, SSD (arXiv 2405.21060), section 7, and the start in ``modules/mamba2.py`` of its code.

    Example:
        >>> gate = SSDGate(dim=16, heads=2)
        >>> gate(torch.rand(1, 9, 16), 9).log_gamma.shape
        torch.Size([1, 2, 9])
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads, heads, 16.0, "SSDGate")

    def forward(self, x: Tensor, grid: GridLike) -> Gates:
        """The gates of tokens ``(batch, length, dim)``, ``(batch, heads, N)``, causal."""
        return Gates(self.gates(self.read(x, Grid.of(grid))[..., 0, :], self._dtype(x)))


class PolylineGate(_StepGate):
    """PPMA's gates, Mamba-2's for each axis of a grid: a map of each head's own features, the same for all heads.

    A and b are of a head and serve all axes; at its start exp(A) is uniform in [1, 1.1].

    Args:
        dim: Features of a token, a multiple of heads.
        heads: Number of heads.
        axes: Axes of the grids, 1 to 3.
        both: Whether the mask is ``L + Lᵀ``, the paper's eq. (4), or L alone, which its code uses twice.

    Raises:
        ValueError: If sizes are not positive or dim is no multiple of heads, or in a call tokens or grid are others.

    Source:
        Zhao et al. 2025, PPMA (arXiv 2506.15940), section 4.1, and ``PathEmbeding2D`` in its code, of which the first
        output is the gate along the last axis.

    Example:
        >>> gate = PolylineGate(dim=16, heads=2)
        >>> gates = gate(torch.rand(1, 9, 16), (3, 3))  # for each axis a gate for each token
        >>> [tuple(g.shape) for g in gates.log_gammas]
        [(1, 2, 9), (1, 2, 9)]
    """

    def __init__(self, dim: int, heads: int, axes: int = 2, both: bool = True) -> None:
        if heads < 1 or dim % heads or not 1 <= axes <= 3:
            raise ValueError(
                "PolylineGate: dim must be a multiple of heads, and axes 1 to 3, got "
                f"dim={dim}, heads={heads}, axes={axes}"
            )
        super().__init__(dim // heads, axes, heads, 1.1, "PolylineGate")
        self.heads, self.both = heads, both

    def forward(self, x: Tensor, grid: GridLike) -> PolylineGates:
        """The gates of tokens ``(batch, length, dim)``, ``(batch, heads, N)`` for each axis."""
        grid = Grid.of(grid)
        if grid.ndim != self.project.out_features:
            raise ValueError(f"PolylineGate: of grids with {self.project.out_features} axes, got {grid}")
        logits = self.read(x, grid, groups=self.heads)  # shape: (batch, N, heads, axes)
        logs = [self.gates(along, self._dtype(x)) for along in reversed(logits.unbind(-1))]
        return PolylineGates(tuple(logs), self.both)


class SpatialDecay(_Reader):
    """SDT's content-aware decay, ``log M[q, k] = −|α ½ (g_q + g_k) ‖δ‖₁|`` with ``g_t = log sigmoid(w_hᵀ x_t)``.

    A rate per token of the pair's own: not a product along a path, and symmetric. Equal g make it the Manhattan decay.

    Args:
        dim: Features of a token.
        heads: Number of heads.
        alpha: α, the strength.

    Raises:
        ValueError: If dim or heads is not positive, or in a call the tokens are not ``(batch, length, dim)``.

    Source:
        Mao et al. 2025, Learning Spatial Decay for Vision Transformers (arXiv 2508.09525), context-aware gating and
        spatial-content fusion. There is no public code; that α is one given number is our reading.

    Example:
        >>> gate = SpatialDecay(dim=16, heads=2)
        >>> gate(torch.rand(1, 9, 16), (3, 3)).entries.shape
        torch.Size([1, 2, 9, 9])
    """

    def __init__(self, dim: int, heads: int, alpha: float = 1.0) -> None:
        super().__init__(dim, heads, False, "SpatialDecay")
        self.heads, self.alpha = heads, alpha

    def forward(self, x: Tensor, grid: GridLike) -> Forms:
        """The mask of tokens ``(batch, length, dim)``, ``(batch, heads, length, length)``, and its logarithm."""
        grid = Grid.of(grid)
        grid.require_dense(x.shape[0] * self.heads, self._dtype(x))
        gate = F.logsigmoid(self.read(x, grid)[..., 0, :]).mT  # shape: (batch, heads, N)
        place = grid.coordinates(x.device).to(gate.dtype)
        distance = (place[:, None] - place[None]).abs().sum(dim=-1)
        log = -(self.alpha * 0.5 * (gate[..., :, None] + gate[..., None, :]) * distance).abs()
        edge, dtype = (grid.prefix, 0, grid.prefix, 0), self._dtype(x)
        log = F.pad(log, edge)
        return Forms(grid, self.heads, {"entries": log.exp().to(dtype), "log": log.to(dtype)})


class LocAt(_Reader):
    """LocAt's Gaussian-augmented attention: ``α_q exp(−½ Σ_d δ_d² / (v_qd + ε))`` added to logits (``bias_logits``).

    ``v = c sigmoid(w·q + b − log(c − 1))`` with c the square of the longest axis, so that it starts at about 1 squared
    token, and ``α = softplus(u·q + a)``; the maps are the same for all heads. On another grid v is scaled by the ratio
    of the shortest axes.

    Args:
        dim: Features of a head's query.
        grid: The grid on which it starts.
        epsilon: ε in squared tokens, 0.1 in its code, which doubles it on large grids for float16's sake.

    Raises:
        ValueError: If dim is not positive, or in a call queries are not ``(batch, heads, length, dim)``, or the grid
            has another number of axes.

    Source:
        Hajimiri et al. 2026, Locality-Attending Vision Transformer (arXiv 2603.04892), and ``GaussianAugment`` in
        ``models/locat.py`` of its code. We neither clamp distances nor pool queries on large grids, as that does.

    Example:
        >>> layer = LocAt(dim=16, grid=(4, 4))
        >>> q, k, v = torch.rand(3, 2, 3, 16, 16)  # (batch, heads, tokens, features)
        >>> retconv.attention.bias_logits(q, k, v, layer(q, (4, 4)), (4, 4)).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(self, dim: int, grid: GridLike, epsilon: float = 0.1) -> None:
        grid = Grid.of(grid)
        grid.require_open("LocAt", "its Gaussians are of a grid with a border, use grid.opened()")
        super().__init__(dim, grid.ndim + 1, True, "LocAt")
        self.epsilon, self.shortest = epsilon, min(grid.shape)
        self.largest = float(max(grid.shape) ** 2)

    def forward(self, q: Tensor, grid: GridLike) -> QueryGaussian:
        """The Gaussians of queries ``(batch, heads, length, dim)``, axis-aligned and centred, with their α."""
        grid = Grid.of(grid)
        if grid.ndim + 1 != self.project.out_features:
            raise ValueError(f"LocAt: of grids with {self.project.out_features - 1} axes, got {grid}")
        logits, dtype = self.read(q, grid, axes=4)[..., 0, :], self._dtype(q)
        turn = math.log(self.largest - 1) if self.largest > 2 else 0.0
        variance = self.largest * torch.sigmoid(logits[..., :-1] - turn) * (min(grid.shape) / self.shortest)
        precision = (1 / (variance + self.epsilon)).to(dtype)
        return QueryGaussian(torch.zeros_like(precision), precision, _softplus(logits[..., -1]).to(dtype))


def _softplus(x: Tensor) -> Tensor:
    """``log(1 + e^x)``; torch's takes it for x from 20 on, which float64 tells apart."""
    return F.softplus(x, threshold=40.0)
