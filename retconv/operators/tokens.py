"""Features of tokens as an operator reads them: whose they are, and as columns side by side."""

from __future__ import annotations

import math

from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import check_real
from retconv.watching import refuse_script


def require_tokens(x: Tensor, name: str, heads: int, grid: Grid) -> Tensor:
    """Features ``(…, heads, N, d)`` of the tokens of a grid; ``(N, d)`` is expanded to all heads.

    Raises:
        ValueError: If the heads or the number of tokens disagree, or it is not floating.
    """
    size = grid.size
    refuse_script("the operator of a mask")
    check_real(x, name)
    if not x.is_floating_point():
        raise ValueError(f"{name} must have a floating dtype, got {x.dtype}: call {name}.float()")
    if x.ndim < 2 or x.shape[-2] != size:
        raise ValueError(
            f"{name} must be (…, {heads}, {size}, d) on {grid}, got shape {tuple(x.shape)}"
            + (
                ": leave out prefix tokens, which take part in no convolution"
                if x.ndim > 1 and x.shape[-2] > size
                else ""
            )
        )
    if x.ndim == 2:
        x = x.expand(heads, -1, -1)
    if heads not in (1, x.shape[-3]):
        raise ValueError(f"{name} has {x.shape[-3]} heads in shape {tuple(x.shape)}, the operator has {heads}")
    return x


def side_by_side(x: Tensor, heads: int) -> Tensor:
    """``(…, heads, N, d)`` as ``(heads, N, columns)``; of one head the heads of x are further elements of the batch."""
    batch, (size, d) = math.prod(x.shape[:-2]) // max(1, heads), x.shape[-2:]
    return x.reshape(batch, heads, size, d).permute(1, 2, 0, 3).reshape(heads, size, batch * d)


def apart(columns: Tensor, like: Tensor) -> Tensor:
    """The inverse of ``side_by_side``, in the shape of a tensor."""
    heads, size, d = len(columns), *like.shape[-2:]
    batch = math.prod(like.shape[:-2]) // max(1, heads)
    return columns.reshape(heads, size, batch, d).permute(2, 0, 1, 3).reshape(like.shape)
