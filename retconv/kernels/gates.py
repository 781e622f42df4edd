"""Gates: decays whose rate depends on the data, one γ for each token that is passed (law 22)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import check, check_real, compute_dtype
from retconv.watching import is_readable


@dataclass(frozen=True)
class Gates:
    """One gate γ_t in [0, 1] for each token of a line and each head, as its logarithm; 0 is −∞.

    Causal, ``M[q, k] = ∏_{k < t ≤ q} γ_t`` for k ≤ q, else 0: the mask of FoX, of Mamba-2 (its ``L``) and of gated
    linear attention with scalar gates. Two-sided, with ``min(q, k) < t ≤ max(q, k)``, as PPMA has it along a row.
    Gate 1 is never used: nothing comes before the first token, unless a recurrence goes on from a state. A gate of 0
    cuts the line: no token before it is seen by it or by one after it. Equal gates are ``Decay``.

    Attributes:
        log_gamma: ``(heads, N)`` or ``(batch, heads, N)``, natural logarithms of the gates, at most 0.
        causal: Whether a query sees its past alone.

    Raises:
        ValueError: If the shape is another, it is not real and floating, or on a CPU a logarithm is above 0 or NaN.

    Source:
        Lin et al. 2025, FoX (arXiv 2503.02130), section 3; Dao and Gu 2024, SSD (arXiv 2405.21060), section 3.2, whose
        ``L`` is ``1SS(a)``. FoX takes differences of one cumulative sum; here every entry is a sum of its own terms.

    Examples:
        >>> import torch
        >>> from retconv.kernels import Gates
        >>> Gates(torch.tensor([[0.5, 0.5, 0.25]]).log()).entries(Grid(3))
        tensor([[[1.0000, 0.0000, 0.0000],
                 [0.5000, 1.0000, 0.0000],
                 [0.1250, 0.2500, 1.0000]]])
    """

    log_gamma: Tensor
    causal: bool = True

    def __post_init__(self) -> None:
        """Check the shape, and values where looking costs nothing."""
        check_gates(self.log_gamma, "Gates: log_gamma")

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.log_gamma.shape[-2]

    @property
    def size(self) -> int:
        """Number of tokens."""
        return self.log_gamma.shape[-1]

    def require(self, grid: Grid) -> None:
        """Raise a ``ValueError`` unless there is one gate for each token of a line."""
        grid.require_open("Gates", "a ring has no first token, use grid.opened()")
        if grid.ndim != 1:
            raise ValueError(f"gates are of a line, got {grid}: use Grid({grid.size}), or kernels.PolylineGates")
        if grid.size != self.size:
            raise ValueError(f"{grid} has {grid.size} tokens, the gates are of {self.size}: give one gate a token")

    def log_entries(self, grid: Grid) -> Tensor:
        """``Σ_{k < t ≤ q} log γ_t``, ``(…, heads, N, N)`` in log_gamma's dtype, summed in float64; −∞ where M is 0."""
        return self._log(grid).to(self.log_gamma.dtype)

    def entries(self, grid: Grid) -> Tensor:
        """The mask, ``(…, heads, N, N)`` in log_gamma's dtype: one exp of the sum."""
        return self._log(grid).exp().to(self.log_gamma.dtype)

    def _log(self, grid: Grid) -> Tensor:
        self.require(grid)
        grid.require_dense(math.prod(self.log_gamma.shape[:-1]), self.log_gamma.dtype)
        log = segment_sums(wide(self.log_gamma))
        return log.masked_fill(above(self.size, log.device), -torch.inf) if self.causal else log + log.mT

    def part(self, heads: slice) -> Gates:
        """The gates of some heads."""
        return Gates(self.log_gamma[..., heads, :], self.causal)


@dataclass(frozen=True)
class PolylineGates:
    """One gate for each token, head and axis: the decay along a path from query to key with one bend for each axis.

    The path goes from the query along the last axis to the key's place on it, then along the axis before, and so on:
    on a plane ``L[q, k] = ∏ α[q_1, t] · ∏ β[t, k_2]``, with t between q_2 and k_2 in the first product and between q_1
    and k_1 in the second, each without the smaller and with the larger end. Its transpose is the path that bends the
    other way, and PPMA's mask is the sum of the two. Equal gates make L the Manhattan decay, up to rounding.

    Attributes:
        log_gammas: For each axis of the grid ``(heads, N)`` or ``(batch, heads, N)``, N tokens in row-major order,
            natural logarithms of the gates that a path along that axis passes at each token, at most 0.
        both: Whether the mask is ``L + Lᵀ``, of both paths, and not L.

    Raises:
        ValueError: If shapes disagree, or as for ``Gates``.

    Source:
        Zhao et al. 2025, PPMA (arXiv 2506.15940), eq. (3) for L and (4) for ``L + Lᵀ``. Its code (``PathEmbeding2D`` in
        ``classification/models/PPMA.py``) adds log L to logits, and means that attention and the one with log Lᵀ.

    Example:
        >>> half = torch.full((1, 4), 0.5).log()  # one gate for each token, the same on both axes
        >>> PolylineGates((half, half)).entries(retconv.Grid((2, 2)))
        tensor([[[1.0000, 0.5000, 0.5000, 0.2500],
                 [0.5000, 1.0000, 0.2500, 0.5000],
                 [0.5000, 0.2500, 1.0000, 0.5000],
                 [0.2500, 0.5000, 0.5000, 1.0000]]])
    """

    log_gammas: tuple[Tensor, ...]
    both: bool = False

    def __post_init__(self) -> None:
        """Check the shapes, and values where looking costs nothing."""
        shapes = [tuple(x.shape) for x in self.log_gammas]
        if not 1 <= len(shapes) <= 3 or len(set(shapes)) > 1:
            raise ValueError(f"PolylineGates: log_gammas must be 1 to 3 tensors of one shape, got {shapes}")
        for log_gamma in self.log_gammas:
            check_gates(log_gamma, "PolylineGates: log_gammas")

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.log_gammas[0].shape[-2]

    def require(self, grid: Grid) -> None:
        """Raise a ``ValueError`` unless there is one gate for each token and axis of the grid."""
        grid.require_open("PolylineGates", "a ring has no first token, use grid.opened()")
        if (grid.ndim, grid.size) != (len(self.log_gammas), self.log_gammas[0].shape[-1]):
            raise ValueError(
                f"{grid} has {grid.ndim} axes and {grid.size} tokens, the gates are of {len(self.log_gammas)} axes and "
                f"{self.log_gammas[0].shape[-1]} tokens: give one gate for each token and axis"
            )

    def log_entries(self, grid: Grid) -> Tensor:
        """The sum of log γ along a path, or ``log(L + Lᵀ)``, ``(…, heads, N, N)``, in float64 and cast last."""
        return self._log(grid).to(self.log_gammas[0].dtype)

    def entries(self, grid: Grid) -> Tensor:
        """The mask, ``(…, heads, N, N)``: one exp of each sum."""
        return self._log(grid).exp().to(self.log_gammas[0].dtype)

    def _log(self, grid: Grid) -> Tensor:
        path = self._path(grid)
        if not self.both:
            return path
        # Of two zeros the logarithm of the sum is −∞, and its gradient would be NaN.
        cut = (path == -torch.inf) & (path.mT == -torch.inf)
        path = path.masked_fill(cut, 0.0)
        return torch.logaddexp(path, path.mT).masked_fill(cut, -torch.inf)

    def _path(self, grid: Grid) -> Tensor:
        self.require(grid)
        front, shape = self.log_gammas[0].shape[:-1], grid.shape
        grid.require_dense(math.prod(front), self.log_gammas[0].dtype)
        total: Tensor | None = None
        for axis, log_gamma in enumerate(self.log_gammas):
            lines = wide(log_gamma).unflatten(-1, shape).movedim(len(front) + axis, -1)
            one_sided = segment_sums(lines)
            sums = (one_sided + one_sided.mT).movedim((-2, -1), (len(front) + axis, len(front) + axis + 1))
            # Axes before this one are still the query's, those after it the key's already.
            ones = (1,) * (len(shape) - axis - 1), (1,) * axis
            sums = sums.reshape(*front, *shape[: axis + 1], *ones[0], *ones[1], *shape[axis:])
            total = sums if total is None else total + sums
        assert total is not None
        return total.expand(*front, *shape, *shape).reshape(*front, grid.size, grid.size)


def segment_sums(x: Tensor) -> Tensor:
    """``Σ_{k < t ≤ q} x_t`` at [q, k] for k ≤ q, else 0.

    Every sum is of its own terms: a difference of two cumulative sums would cancel, and of terms of −∞ be NaN. What the
    largest term used has in common with all is a product, so that of equal terms it is ``(q − k) x`` to the bit.

    Args:
        x: ``(…, n)``, at most 0; −∞ is a gate of 0.

    Returns:
        ``(…, n, n)``, differentiable; no gradient reaches the first term.
    """
    place = torch.arange(x.shape[-1], device=x.device)
    behind = (place[:, None] - place[None, :]).clamp(min=0)
    largest = x.detach().masked_fill(place == 0, -torch.inf).amax(dim=-1, keepdim=True)
    largest = largest.masked_fill(largest == -torch.inf, 0.0)
    rest = torch.where(behind > 0, (x - largest)[..., None], 0.0).cumsum(dim=-2)
    return behind * largest[..., None] + rest


def wide(log_gamma: Tensor) -> Tensor:
    """Logarithms in the dtype in which they are summed."""
    return log_gamma.to(compute_dtype(log_gamma.device))


def above(size: int, device: torch.device) -> Tensor:
    """Whether a key comes after its query, ``(n, n)``."""
    place = torch.arange(size, device=device)
    return place[:, None] < place[None, :]


def check_gates(log_gamma: Tensor, name: str) -> None:
    """Raise a ``ValueError`` unless these are logarithms of gates of each token and head."""
    check_real(log_gamma, name)
    if log_gamma.ndim not in (2, 3) or not log_gamma.is_floating_point() or 0 in log_gamma.shape:
        raise ValueError(
            f"{name} must be (heads, N) or (batch, heads, N), floating and not empty, got shape "
            f"{tuple(log_gamma.shape)} in {log_gamma.dtype}"
        )
    if is_readable(log_gamma):
        check(log_gamma, name, log_gamma <= 0, "must be at most 0, the logarithm of a gate in [0, 1]")
