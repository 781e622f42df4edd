"""Decay as a recursion along each axis: O(N), forwards and backwards, compiled or in blocks."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.grid import Grid
from retconv.operators.columns import add_product, left
from retconv.operators.compiled import DecayScan, Kind, serves
from retconv.watching import is_differentiated, is_readable, is_watched, unwatched

#: An axis of up to this many tokens is one block: one matrix product is then faster than any recursion.
SINGLE = 64
#: A step of at least this many entries is worth a call of its own: the recursion then runs at the speed of memory. On
#: axes of fewer tokens than ``LONG`` one matrix product is faster.
STEP, LONG = 8192, 40
#: Block lengths to choose from, best first: the first that divides the axis, else the axis is padded to the first.
BLOCKS = (32, *range(33, 65), *range(31, 15, -1))


class RecursiveProduct:
    """``M @ x`` for the decay ``γ^|δ_1| ⋯ γ^|δ_D|``, or RetNet's causal decay on one axis (laws 6 to 8).

    Where numba is installed compiled loops run it, and its gradient in x, unless somebody else watches. The gradient in
    γ is that of products in blocks.

    Args:
        gamma: ``(heads,)``, in (0, 1].
        grid: The grid.
        kind: Which keys count: all, those at or before the query, or those at or after it. One-sided on one axis only.
        dtype: In which to compute.
    """

    def __init__(self, gamma: Tensor, grid: Grid, kind: Kind, dtype: torch.dtype) -> None:
        self.gamma, self.grid, self.kind, self.dtype = gamma, grid, kind, dtype
        # Each is made when it is wanted: the one takes no matrices, the other no compiler.
        self._scan: DecayScan | None = None
        self._passes: _Passes | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        if serves(self.gamma, self.dtype, x):
            if is_differentiated(x):
                return _Scanned.apply(x, self)
            return self.scan(x)
        if self._passes is None:
            # What is kept for the next call must belong to no watcher of this one.
            with nullcontext() if is_watched(self.gamma) else unwatched():
                self._passes = _Passes(self.gamma, self.grid, self.kind, self.dtype)
        return self._passes(x)

    def scan(self, x: Tensor) -> Tensor:
        """Apply by compiled loops, unseen by autograd."""
        if self._scan is None:
            with unwatched():
                self._scan = DecayScan(self.gamma, self.grid, self.kind, self.dtype)
        return self._scan(x)

    def adjoint(self) -> RecursiveProduct:
        """The product with ``Mᵀ``."""
        if self.kind == "two_sided":
            return self
        kind: Kind = "anticausal" if self.kind == "causal" else "causal"
        return RecursiveProduct(self.gamma, self.grid, kind, self.dtype)


class _Scanned(torch.autograd.Function):
    """A compiled scan, of which the gradient is the adjoint's: compiled too, or whatever serves who watches it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, product: RecursiveProduct) -> Tensor:
        ctx.product = product
        return product.scan(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.product.adjoint()(gradients[0]), None


class _Passes:
    """The same by operations of torch, for every device and watcher: in blocks, or token by token."""

    def __init__(self, gamma: Tensor, grid: Grid, kind: Kind, dtype: torch.dtype) -> None:
        rate = -gamma.to(torch.promote_types(gamma.dtype, dtype)).log()
        self.axes = [_Axis(rate, n, kind, dtype) for n in grid.shape]
        self.steps = _Steps(rate, grid, dtype) if kind == "two_sided" else None

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        if self.steps is not None and self.steps.pays(x):
            return self.steps(x)
        y, before = x, 1
        for axis in self.axes:
            y = axis(y.reshape(x.shape[0], before, axis.n, -1))
            before *= axis.n
        return y.reshape(x.shape)


class _Steps:
    """Two-sided decay token by token, in place: two passes along each axis and one over the whole.

    ``γ^|δ|`` is the covariance of a first-order autoregression, so a pass back and a pass forth suffice: with
    ``b_i = x_i + γ b_{i+1}``, ``y_0 = b_0`` and ``y_i = γ y_{i−1} + (1 − γ²) b_i``. Of ``1 − γ² = (1 − γ)(1 + γ)`` the
    first factor makes the pass forth an interpolation, and the second is applied to x beforehand, for all axes at once.
    """

    def __init__(self, rate: Tensor, grid: Grid, dtype: torch.dtype) -> None:
        self.shape = grid.shape
        self.gamma = torch.exp(-rate).to(dtype).reshape(-1, 1, 1)  # shape: (heads, 1, 1)

    def pays(self, x: Tensor) -> bool:
        """Whether axes and steps are long enough, on a CPU, and nobody watches what would be overwritten.

        A rounded γ is carried from token to token: in float32 beyond 512 of them its error leaves the tolerance.
        """
        exact = x.dtype == torch.float64 or max(self.shape) <= 512
        lengthy = exact and min(self.shape) >= LONG and x.numel() >= STEP * max(self.shape)
        return lengthy and not is_watched(x, self.gamma) and is_readable(x)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        y = x.contiguous() * (1 + self.gamma) ** len(self.shape)
        # A number where there is one head: torch then neither broadcasts nor reads it for each row.
        gamma, before = (self.gamma if len(x) > 1 else self.gamma.item()), 1
        for n in self.shape:
            rows = y.view(len(x), before, n, -1).unbind(2)
            for later, row in zip(rows[:0:-1], rows[-2::-1], strict=True):
                row.addcmul_(later, gamma) if isinstance(gamma, Tensor) else row.add_(later, alpha=gamma)
            rows[0].div_(1 + self.gamma)
            for earlier, row in itertools.pairwise(rows):
                row.lerp_(earlier, gamma)
            before *= n
        return y


class _Axis:
    """Decay along one axis: within a block a matrix, between blocks one carry each way, itself a decay of γ^block.

    ``f_i = x_i + γ f_{i−1}`` and ``b_i = x_i + γ b_{i+1}`` give the two-sided ``y = f + b − x``. A block hands
    ``Σ_i γ^(s−1−i) x_i`` forwards and ``Σ_i γ^i x_i`` backwards.
    """

    def __init__(self, rate: Tensor, n: int, kind: Kind, dtype: torch.dtype) -> None:
        self.n, self.kind = n, kind
        self.block = n if n <= SINGLE else next((s for s in BLOCKS if n % s == 0), BLOCKS[0])
        i = torch.arange(self.block, device=rate.device, dtype=rate.dtype)
        distance = i[:, None] - i
        self.matrix = _power(rate, distance.abs()).to(dtype)  # shape: (heads, block, block)
        if kind != "two_sided":
            self.matrix = self.matrix.tril() if kind == "causal" else self.matrix.triu()
        self.count = -(-n // self.block)
        if self.count == 1:
            return
        # Of each way, the powers with which a block's tokens give, and with which they take.
        ways: dict[Kind, tuple[Tensor, Tensor]] = {
            "causal": (self.block - 1 - i, i + 1),
            "anticausal": (i, self.block - i),
        }
        if kind != "two_sided":
            ways = {kind: ways[kind]}
        give, take = zip(*ways.values(), strict=True)
        self.give = _power(rate, torch.stack(give)).to(dtype)  # shape: (heads, ways, block)
        self.take = _power(rate, torch.stack(take, dim=1)).to(dtype)  # shape: (heads, block, ways)
        self.carries = [_Axis(rate * self.block, self.count, way, dtype) for way in ways]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply along axis 2 of ``(heads, before, n, after)``."""
        if self.count == 1:
            return left(self.matrix, x)
        heads, before, n, after = x.shape
        padding = self.count * self.block - n
        if padding:
            x = F.pad(x, (0, 0, 0, padding))
        blocks = x.reshape(heads, before * self.count, self.block, after)
        sums = left(self.give, blocks).reshape(heads, before, self.count, -1, after)
        taken = []
        for way, carry in enumerate(self.carries):
            total = carry(sums[:, :, :, way])
            # A block takes what the blocks before it gave, not what it gave itself.
            shifted = (0, 0, 1, -1) if carry.kind == "causal" else (0, 0, -1, 1)
            taken.append(F.pad(total, shifted))
        received = torch.stack(taken, dim=3).reshape(heads * before * self.count, -1, after)
        y = left(self.matrix, blocks).reshape(heads * before * self.count, self.block, after)
        take = self.take[:, None].expand(-1, before * self.count, -1, -1).reshape(y.shape[0], self.block, -1)
        y = add_product(y, take, received).reshape(heads, before, -1, after)
        return y[:, :, :n] if padding else y


def _power(rate: Tensor, exponent: Tensor) -> Tensor:
    return torch.exp(-rate.reshape(-1, *(1,) * exponent.ndim) * exponent)
