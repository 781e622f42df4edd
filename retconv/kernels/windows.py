"""Windows: which offsets a query sees at all, 1 or 0."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.kernels.parameters import as_parameter, check, device_of, per_head, whole


def _weights(seen: Tensor) -> Tensor:
    return seen.to(torch.get_default_dtype())


def window(offset: Tensor, radius: int | Tensor, dilation: int = 1) -> Tensor:
    """A hard window, ``K[δ] = 1`` where ``max_d |δ_d| ≤ radius · dilation`` and, dilated, that divides δ_d, else 0.

    Args:
        offset: ``(*S, D)``, key − query in tokens, integers if dilated.
        radius: Number or ``(heads,)``, in steps of the dilation, at least 0: a window has ``2·radius + 1`` keys a side.
        dilation: Tokens from one key of the window to the next.

    Returns:
        ``(heads, *S)`` of ones and zeros in the default dtype; its logarithm (0 and −∞) is the bias form.

    Raises:
        ValueError: If radius is not finite or negative, dilation is less than 1, or above 1 and an offset lies between
            tokens.

    Source:
        Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1, plain and dilated sliding windows.

    Example:
        >>> window(torch.arange(-2, 3)[:, None], 1, dilation=2).tolist()
        [[1.0, 0.0, 1.0, 0.0, 1.0]]
    """
    if dilation < 1:
        raise ValueError(f"dilation must be at least 1, got {dilation}")
    radius = as_parameter(radius, "radius", device=device_of(offset))
    check(radius, "radius", radius >= 0, "must be at least 0")
    offset = offset if dilation == 1 else whole(offset)
    distance = offset.abs().amax(dim=-1)
    inside = distance <= dilation * per_head(radius, offset.ndim - 1)
    return _weights(inside if dilation == 1 else inside & (offset % dilation == 0).all(dim=-1))


def within(offset: Tensor, radius: int, dilation: int) -> Tensor:
    """Which offsets ``(*S, D)`` a window has, ``(*S)``; undilated it has the places between tokens too.

    It is for numbers that are a module's own: only dilated offsets are looked at, which must be whole tokens.
    """
    offset = offset if dilation == 1 else whole(offset)
    inside = offset.abs() <= radius * dilation
    return (inside if dilation == 1 else inside & (offset % dilation == 0)).all(dim=-1)


def causal_window(offset: Tensor, length: int | Tensor) -> Tensor:
    """The last tokens up to the query itself, ``K[δ] = 1`` for −length < δ ≤ 0, else 0.

    Args:
        offset: ``(*S, 1)``, key − query in tokens.
        length: Number or ``(heads,)``, tokens that are seen, at least 1.

    Returns:
        ``(heads, *S)`` of ones and zeros in the default dtype.

    Raises:
        ValueError: If length is not finite or less than 1, or the offsets are not 1-D.

    Source:
        Jiang et al. 2023, Mistral 7B (arXiv 2310.06825), section 2, sliding-window attention.

    Example:
        >>> causal_window(torch.arange(-2, 2)[:, None], 2).tolist()
        [[0.0, 1.0, 1.0, 0.0]]
    """
    _on_a_line(offset, "causal_window")
    length = as_parameter(length, "length", device=device_of(offset))
    check(length, "length", length >= 1, "must be at least 1")
    past = -offset[..., 0]
    return _weights((past >= 0) & (past < per_head(length, past.ndim)))


def strided_window(offset: Tensor, stride: int | Tensor) -> Tensor:
    """The Sparse Transformer's strided pattern, ``K[δ] = 1`` for −l ≤ δ ≤ 0 and where l divides δ ≤ 0, else 0.

    Args:
        offset: ``(*S, 1)``, key − query in tokens, integers.
        stride: Number or ``(heads,)``, l ≥ 1 in tokens, near the root of the sequence's length.

    Returns:
        ``(heads, *S)`` of ones and zeros in the default dtype.

    Raises:
        ValueError: If stride is not finite or less than 1, or the offsets are not 1-D or not whole.

    Source:
        Child et al. 2019 (arXiv 1904.10509), section 4.3: ``A^(1)_i = {t, …, i}``, t = max(0, i − l), and
        ``A^(2)_i = {j : (i − j) mod l = 0}``, here both in one head, as in the paper's merged head (section 5.1).

    Example:
        >>> strided_window(torch.arange(-5, 1)[:, None], 2).tolist()
        [[0.0, 1.0, 0.0, 1.0, 1.0, 1.0]]
    """
    _on_a_line(offset, "strided_window")
    stride = as_parameter(stride, "stride", device=device_of(offset))
    check(stride, "stride", stride >= 1, "must be at least 1")
    past = -whole(offset)[..., 0]
    stride = per_head(stride, past.ndim)
    return _weights((past >= 0) & ((past <= stride) | (past % stride == 0)))


def _on_a_line(offset: Tensor, name: str) -> None:
    if offset.shape[-1] != 1:
        raise ValueError(f"{name} is defined on 1-D grids, got offsets with {offset.shape[-1]} axes: use window")
