"""Rotary positions: a rotation of queries and keys that turns a real decay γ into complex poles γ e^{iθ} (law 15)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from retconv.kernels.parameters import compute_dtype
from retconv.names import unknown

Layout = Literal["interleaved", "half"]


def rotation_angles(head_size: int, base: float = 10000.0, endpoint: bool = True) -> Tensor:
    """Angles per token, one for each pair of features: ``θ_j = base^(−j / (d/2 − 1))`` or ``base^(−2j / d)``.

    Args:
        head_size: d, even.
        base: Ratio of the first angle, 1 radian a token, to the last.
        endpoint: Whether the last angle is ``1 / base`` itself, as in RetNet's code (``linspace(0, 1, d/2)``), or the
            progression stops one step before it, as in RoPE (Su et al. 2021, arXiv 2104.09864, section 3.2.2).

    Returns:
        float64 ``(d / 2,)``, in radians per token.

    Raises:
        ValueError: If d is not a positive even number.

    Source:
        ``RetNetRelPos`` in torchscale's ``architecture/retnet.py``: ``1.0 / (10000 ** linspace(0, 1, d // 2))``.

    Example:
        >>> rotation_angles(4)
        tensor([1.0000e+00, 1.0000e-04], dtype=torch.float64)
    """
    if head_size < 2 or head_size % 2:
        raise ValueError(f"rotation turns pairs of features: the head size must be even, got {head_size}")
    pairs = head_size // 2
    if endpoint:
        return base ** -torch.linspace(0, 1, pairs, dtype=torch.float64)
    return base ** -(torch.arange(pairs, dtype=torch.float64) / pairs)


def rotate(x: Tensor, angles: Tensor, position: int = 0, layout: Layout = "interleaved") -> Tensor:
    """Turn each pair of features of token n by ``(position + n) θ_j``.

    With q and k both rotated, ``q_n · k_m`` of a pair, read as complex numbers, is ``Re(conj(q̂) k̂ e^{iθ(m−n)})``: it
    depends on the offset alone, so retention with decay γ and rotation is retention with the complex pole γ e^{iθ} on
    each pair. Rotations leave every form as it is.

    Args:
        x: ``(…, N, d)``, queries or keys.
        angles: ``(d / 2,)`` radians per token, of ``rotation_angles``.
        position: Place of the first token in its sequence.
        layout: Which features make a pair: ``"interleaved"`` (2j and 2j + 1; torchscale's ``rotate_every_two``) or
            ``"half"`` (j and j + d/2; GPT-NeoX and flash-linear-attention).

    Returns:
        The rotated ``x``, in its dtype. Sines and cosines are taken in float64: at token 65,535 a float32 angle is off
        by 4e-3 radians.

    Raises:
        ValueError: If the layout is unknown, x is not floating, or there is not one angle for each pair.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # two tokens, one pair of features
        >>> rotate(x, torch.tensor([torch.pi / 2])).round(decimals=4).tolist()
        [[1.0, 0.0], [-0.0, 1.0]]
    """
    if layout not in get_args(Layout):
        raise ValueError(unknown("layout", layout, get_args(Layout)))
    if not x.is_floating_point():
        raise ValueError(f"x must have a floating dtype, got {x.dtype}: a rotation of whole numbers is none of them")
    if angles.shape != (x.shape[-1] // 2,) or x.shape[-1] % 2:
        raise ValueError(f"x must have two features for each of {angles.numel()} angles, got shape {tuple(x.shape)}")
    wide = compute_dtype(x.device)
    token = torch.arange(position, position + x.shape[-2], device=x.device, dtype=wide)
    phase = token[:, None] * angles.to(x.device, wide)
    cosine, sine = phase.cos().to(x.dtype), phase.sin().to(x.dtype)
    if layout == "half":
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    first, second = x[..., ::2], x[..., 1::2]
    return torch.stack([first * cosine - second * sine, second * cosine + first * sine], dim=-1).flatten(-2)
