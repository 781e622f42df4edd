"""Retention as written, ``(S ⊙ M) V``: all pairs at once, or a few rows of queries at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.operators.columns import block_bytes
from retconv.watching import is_recorded, is_watched


def parallel(q: Tensor, k: Tensor, v: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """The reference: scores and mask are formed, O(N²) in time and memory."""
    grid.require_dense(q.shape[0] * q.shape[1], q.dtype)
    scores, mask = q @ k.mT, kernel_to_mask(kernel, grid)
    # In place where nobody watches: a third dense tensor would cost more time than the products.
    return (scores * mask if is_watched(scores, mask) else scores.mul_(mask)) @ v


def tiled(q: Tensor, k: Tensor, v: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """All pairs, block by block: O(N²) in time, O(N) in memory, for every kernel on every grid.

    With queries in reversed order along each axis, the mask's rows are the kernel's windows in ascending order
    (law 2: query q reads the window that starts at n − 1 − q). They are then a strided view of the kernel, so no entry
    of the mask is ever copied.
    """
    batch, heads, size, _ = q.shape
    axes = tuple(range(2, 2 + grid.ndim))
    reversed_q = q.unflatten(2, grid.shape).flip(axes)  # shape: (batch, heads, n_1, …, n_D, d)
    view = kernel
    for axis, n in enumerate(grid.shape, start=1):
        view = view.unfold(axis, n, 1)  # shape in the end: (heads, n_1, …, n_D, n_1, …, n_D), queries reversed
    row = size // grid.shape[0] * size * q.itemsize
    step = max(1, block_bytes(q.device) // row)
    recorded = is_recorded(q, k, v, kernel)
    out = []
    for h in range(heads):
        for start in range(0, grid.shape[0], step):
            rows = reversed_q[:, h, start : start + step], k[:, h], v[:, h], view[h, start : start + step]
            # Recomputed in the backward pass: the scores of all blocks together would be the dense scores.
            out.append(
                checkpoint(_tile, *rows, use_reentrant=False, preserve_rng_state=False) if recorded else _tile(*rows)
            )
    count = math.ceil(grid.shape[0] / step)
    per_head = [torch.cat(out[i : i + count], dim=1) for i in range(0, len(out), count)]
    return torch.stack(per_head, dim=1).flip(axes).reshape(batch, heads, size, -1)


def _tile(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Queries ``(batch, rows, n_2, …, d)`` against all keys, under their view of the mask."""
    scores = q.flatten(1, -2) @ k.mT
    masked = scores.reshape(q.shape[0], *mask.shape)
    masked = masked * mask if is_watched(masked, mask) else masked.mul_(mask)
    return (masked.reshape(scores.shape) @ v).reshape(*q.shape[:-1], v.shape[-1])
