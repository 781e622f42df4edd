"""Sums over the row of a mask, with the border exactly as it is: the keys that exist, and no others."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.convert.folding import unfold
from retconv.grid import Grid
from retconv.masks import Forms


def window_sums(table: Tensor, grid: Grid) -> Tensor:
    """The sum of a table of offsets over the window that each query sees: the row sums of its mask.

    Row q of the mask is the box of the kernel that starts at ``n − 1 − q`` (law 2), so that running sums along each
    axis give all row sums in O(kernel entries), and the mask is never formed. Every box holds offset 0: its sum is one
    running sum to the past and one to the future, where the difference of two would lose what is small beside others.

    Args:
        table: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``.
        grid: The grid.

    Returns:
        ``(heads, N)``.

    Raises:
        ValueError: If the grid is periodic.

    Example:
        >>> window_sums(torch.ones(1, 5), retconv.Grid(3)).tolist()
        [[3.0, 3.0, 3.0]]
    """
    grid.require_open("window_sums", "on a ring every query sees the whole table, whose sum is table.flatten(1).sum(1)")
    for axis, n in enumerate(grid.shape, start=1):
        # Query q sees q offsets of the past, its own, and n − 1 − q of the future.
        past = table.narrow(axis, 0, n).flip(axis).cumsum(dim=axis)
        future = table.narrow(axis, n, n - 1).cumsum(dim=axis)
        table = past + torch.cat([torch.zeros_like(table.narrow(axis, 0, 1)), future], dim=axis).flip(axis)
    return table.flatten(1)


class Rows:
    """Sums ``Σ_k w[q, k] f(k − q)`` for functions f of the offset.

    Args:
        subject: The mask. A mask without kernel is read entry by entry.
        border: Whether each query of the grid is a row, which sums over the keys that it has; else there is one row,
            the whole kernel: a query far from every border.
    """

    def __init__(self, subject: Forms, border: bool) -> None:
        self.grid = subject.grid
        self.border = border
        self._kernel = subject.kernel
        # Of a kernel they are never formed.
        self._entries = subject.entries if subject.kernel is None else None

    def sums(self, f: Tensor, magnitude: bool = True) -> Tensor:
        """``Σ_k w f``, w being the weight, or its magnitude.

        Args:
            f: ``(1 or heads, 2 n_1 − 1, …, 2 n_D − 1)`` by offset.
            magnitude: Whether w is ``|M[q, k]|``, else ``M[q, k]``.

        Returns:
            ``(heads, rows)``.
        """
        if self._kernel is not None:
            return self._by_kernel((self._kernel.abs() if magnitude else self._kernel) * f)
        assert self._entries is not None
        size = self.grid.size
        factors = unfold(f, self.grid.shape).reshape(-1, size, size)
        return ((self._entries.abs() if magnitude else self._entries) * factors).sum(dim=2)

    def information(self) -> Tensor:
        """``Σ_k |w| log |w|`` of each row, ``(heads, rows)``; 0 log 0 is 0."""
        if self._kernel is not None:
            return self._by_kernel(torch.xlogy(self._kernel.abs(), self._kernel.abs()))
        assert self._entries is not None
        return torch.xlogy(self._entries.abs(), self._entries.abs()).sum(dim=2)

    def counts(self, f: Tensor) -> Tensor:
        """``Σ_k f(k − q)`` over the keys of each row, ``(1, rows)``."""
        return self._by_kernel(f)

    def _by_kernel(self, table: Tensor) -> Tensor:
        return window_sums(table, self.grid) if self.border else table.flatten(1).sum(dim=1, keepdim=True)
