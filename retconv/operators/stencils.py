"""The inverse of a decay: two diagonals of a causal one (law 6), else three along each axis (laws 7 and 8)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import compute_dtype
from retconv.operators.compiled import Kind, in_threads, loops, ranges, serves, threads, values
from retconv.watching import is_differentiated, unwatched

LOOPS = "retconv.operators.inverse_loops"
#: Entries that a compiled unit of work gathers before it goes along the last axis, and its fewest tokens.
ENTRIES, LEAST = 2**13, 4


class DecayInverse:
    """``M⁻¹ y`` for the decay ``γ^|δ_1| ⋯ γ^|δ_D|``, or on one axis RetNet's causal decay or its adjoint: O(N).

    Along an axis of n > 1 tokens the inverse of ``γ^|δ|`` is ``x_i = a y_i + s ((y_i − y_{i−1}) + (y_i − y_{i+1}))``
    with ``s = γ/(1 − γ²)`` and ``a = (1 − γ)/(1 + γ)``, where at an end the difference that has no token is left out
    and a is ``1/(1 + γ)``. Of a causal decay it is ``x_i = y_i − γ y_{i−1}``, of its adjoint ``y_i − γ y_{i+1}``.

    Where numba is installed a compiled loop runs it, and its gradient in y, unless somebody else watches. The gradient
    in γ is that of torch's operations. Both compute in float64 and cast last.

    Args:
        gamma: ``(heads,)``, in (0, 1); 1 if it is one-sided, or the grid has one token.
        grid: The grid.
        kind: Which keys count: all, those at or before the query, or those at or after it.
    """

    def __init__(self, gamma: Tensor, grid: Grid, kind: Kind) -> None:
        self.gamma, self.grid, self.kind = gamma, grid, kind
        sides = [n for n in grid.shape if n > 1]
        self._sides = (*(1,) * (3 - len(sides)), *sides)
        self._weights: Any = None

    def __call__(self, y: Tensor) -> Tensor:
        """Apply to ``y`` ``(heads, N, columns)``."""
        if serves(self.gamma, y.dtype, y):
            return _Undone.apply(y, self) if is_differentiated(y) else self.run(y)
        wide = compute_dtype(y.device)
        x, before = y.to(wide), 1
        gamma = self.gamma.to(wide).reshape(-1, 1, 1, 1)
        for n in self.grid.shape:
            if n > 1:
                x = self._axis(x.reshape(len(y), before, n, -1), gamma)
            before *= n
        return x.reshape(y.shape).to(y.dtype)

    def _axis(self, x: Tensor, gamma: Tensor) -> Tensor:
        """Along axis 2 of ``(heads, before, n, after)``."""
        if self.kind == "causal":
            return x - gamma * F.pad(x[:, :, :-1], (0, 0, 1, 0))
        if self.kind == "anticausal":
            return x - gamma * F.pad(x[:, :, 1:], (0, 0, 0, 1))
        n = x.shape[2]
        place = torch.arange(n, device=x.device).reshape(-1, 1)
        own = torch.where((place == 0) | (place == n - 1), 1 / (1 + gamma), (1 - gamma) / (1 + gamma))
        slope = gamma / ((1 - gamma) * (1 + gamma))
        # Differences of neighbours are exact where they are close, which is where γ near 1 amplifies their rounding.
        return own * x - slope * F.pad(x.diff(dim=2), (0, 0, 1, 1)).diff(dim=2)

    def run(self, y: Tensor) -> Tensor:
        """Apply by a compiled loop, unseen by autograd."""
        y = values(y)
        heads, _, columns = y.shape
        if self._weights is None:
            with unwatched():
                self._weights = self._of_loops()
        with unwatched():
            x = torch.empty_like(y)
        first, middle, last = self._sides
        span = max(LEAST, ENTRIES // max(1, columns))
        units = ranges(heads * first * middle * -(-last // span), threads(y.numel()))
        in_threads(loops(LOOPS).stencil, units, (y.numpy(), x.numpy(), self._weights, self._sides, span))
        return x

    def _of_loops(self) -> Any:
        """What a loop weighs with: a token itself within an axis and at its ends, the one before and the one after."""
        gamma = self.gamma.detach().double()
        one, zero = torch.ones_like(gamma), torch.zeros_like(gamma)
        if self.kind == "two_sided":
            edge = 1 / ((1 - gamma) * (1 + gamma))
            rows = [(1 + gamma**2) * edge, edge, -gamma * edge, -gamma * edge]
        else:
            rows = [one, one, *((-gamma, zero) if self.kind == "causal" else (zero, -gamma))]
        return torch.stack(rows, dim=1).numpy()

    def adjoint(self) -> DecayInverse:
        """The inverse of ``Mᵀ``."""
        if self.kind == "two_sided":
            return self
        return DecayInverse(self.gamma, self.grid, "anticausal" if self.kind == "causal" else "causal")


class _Undone(torch.autograd.Function):
    """A compiled inverse, of which the gradient is the adjoint's."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, inverse: DecayInverse) -> Tensor:
        ctx.inverse = inverse
        return inverse.run(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.inverse.adjoint()(gradients[0]), None
