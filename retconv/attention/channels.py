"""Log-masks as extra channels of query and key (laws 20, 21): plain fused attention runs them, with no N×N tensor.

Terms of ``u · w`` are rounded in the dtype of the queries, and of a narrow Gaussian they are large and cancel:
``"auto"`` asks ``precise`` before it takes channels; who names them does not, and may have an error beyond the dtype's
tolerance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.attention.factors import ExtraChannels, decay_factors, gaussian_factors
from retconv.attention.fused import fused
from retconv.attention.inputs import Call, check_dropout, check_qkv, logit_bias
from retconv.attention.placements import PLACEMENTS
from retconv.checks import tolerance
from retconv.grid import Grid, GridLike, kept
from retconv.kernels import GAUSSIAN_EPSILON
from retconv.kernels.parameters import check, require_tensors
from retconv.masks import Forms
from retconv.precision import entering
from retconv.watching import is_readable

#: Widths of query and key are made multiples of this, which fused kernels on a GPU ask for.
MULTIPLE = 8


def precise(sigma: Tensor, grid: Grid, dtype: torch.dtype) -> bool:
    """Whether the dot product of Gaussians of these widths keeps the dtype's tolerance.

    It is a difference of terms up to ``R² / σ²`` with R half the diagonal of the grid, and each is rounded.
    """
    variance = float((sigma.detach().double().square() + GAUSSIAN_EPSILON).min())
    return _largest_square(grid) / variance * torch.finfo(dtype).eps <= tolerance(dtype) / 2


def _largest_square(grid: Grid) -> float:
    """R², of half the diagonal of the grid: the most that a Gaussian's channel of squares holds."""
    return sum(((n - 1) / 2) ** 2 for n in grid.shape)


def precise_decay(gamma: Tensor, grid: Grid, dtype: torch.dtype, *, learnt: bool = False) -> bool:
    """Whether the one channel of causal decays keeps the dtype's tolerance, by the rule of ``precise``.

    Its terms reach ``−log γ`` times half the line, and as much again beside prefix tokens. The gradient of γ, in which
    sums over the line cancel, loses up to four times as much (measured in float32 on 64 to 1,024 tokens).
    """
    rate = float(-gamma.detach().double().log().min())
    largest = rate * (grid.size - 1) / 2 * (2 if grid.prefix else 1) * (4 if learnt else 1)
    return largest * torch.finfo(dtype).eps <= tolerance(dtype) / 2


def largest_term(extra: ExtraChannels) -> float:
    """How large the terms of ``u · w`` may be together, ``Σ_c max_q |u_qc| max_k |w_kc|`` of the worst head, in logits.

    Each is rounded, and they may cancel: by the rule of ``precise``, a dot product keeps a dtype's tolerance up to
    ``tolerance / 2ε`` logits, 42 in float32.
    """
    peaks = (x.detach().double().abs().amax(dim=-2) for x in extra)
    query, key = peaks
    return float((query * key).sum(dim=-1).amax()) if query.numel() else 0.0


def refusal(call: Call) -> str | None:
    """Why extra channels do not serve a call, or None if they do."""
    if not serves(call.mask):
        return "the mask is not a GaussianMixtureMask of one component, nor a causal decay"
    if call.scale == 0:
        return "its channels are divided by the scale, which is 0"
    largest = _largest_square(call.mask.grid)
    if call.mask.gaussian is not None and largest > torch.finfo(call.q.dtype).max:
        return f"a channel reaches {largest:.0f} on {call.mask.grid}, beyond {call.q.dtype}"
    return None


def serves(mask: Forms) -> bool:
    """Whether the logarithm of a mask is known as extra channels: of one Gaussian a head, and of a causal decay."""
    return mask.gaussian is not None or (mask.decay is not None and mask.decay.causal)


def factors(mask: Forms) -> ExtraChannels:
    """The channels of a mask that is served."""
    if mask.gaussian is not None:
        return gaussian_factors(*mask.gaussian, mask.grid)
    assert mask.decay is not None
    return decay_factors(mask.decay.gamma, mask.grid)


def extended(q: Tensor, k: Tensor, extra: ExtraChannels, scale: float) -> tuple[Tensor, Tensor]:
    """Queries and keys with extra channels whose dot product, times ``scale``, adds ``u · w`` to the scores.

    Args:
        q: ``(batch, heads, length, d)``.
        k: As q.
        extra: The channels.
        scale: What the fused attention multiplies scores by.

    Returns:
        Both ``(batch, heads, length, d + channels)``, filled up with zeros to a multiple of 8.
    """
    return _append(q, extra.query / scale), _append(k, extra.key)


def _append(x: Tensor, channels: Tensor) -> Tensor:
    """Append ``(…, heads or 1, length, c)``, and zeros up to the full width."""
    fill = -(x.shape[-1] + channels.shape[-1]) % MULTIPLE
    channels = F.pad(channels.to(x.dtype), (0, fill))
    return torch.cat([x, channels.expand(*x.shape[:2], -1, -1)], dim=-1)


@kept
def visible(grid: Grid, device: torch.device) -> Tensor:
    """Which keys causality shows, bool ``(length, length)``: a line's past, and prefix tokens to and from all."""
    at = torch.arange(grid.length, device=device)
    return (at <= at[:, None]) | (at < grid.prefix) | (at < grid.prefix)[:, None]


def extended_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    extra: ExtraChannels,
    grid: GridLike,
    *,
    causal: bool = False,
    bias: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
) -> Tensor:
    """Fused attention of extended queries and keys, ``softmax(S + u·w + B) V`` with ``S = Q Kᵀ · scale``.

    With channels of a log-mask it is ``bias_logits`` of the mask (law 21). Terms of ``u · w`` are rounded in the dtype
    of q and k: up to 42 logits keep float32's tolerance.

    Args:
        q: Queries ``(batch, heads, length, d)``.
        k: Keys, as q.
        v: Values ``(batch, heads, length, d_v)``.
        extra: u and w, of one head or as many as q, with or without a batch.
        grid: The grid.
        causal: Whether later keys of a line are hidden, of which channels say nothing.
        bias: B, as in ``attend``.
        scale: Of the scores; ``d^(−1/2)`` if not given.
        dropout_p: As in ``attend``.

    Returns:
        ``(batch, heads, length, d_v)`` in the dtype of q, k and v, under autocast in its dtype.

    Raises:
        ValueError: If shapes or dtypes do not fit, or causality is asked for on several axes.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 196, 16)
        >>> extended_attention(q, k, v, retconv.attention.gaussian_channels(8.0, (14, 14)), (14, 14)).shape
        torch.Size([2, 4, 196, 16])
    """
    grid = Grid.of(grid)
    require_tensors(q=q, k=k, v=v)
    q, k, v = entering(q), entering(k), entering(v)
    check_qkv(q, k, v, grid)
    check_dropout(dropout_p)
    if bias is not None:
        bias = logit_bias(bias, q, k, PLACEMENTS["bias_logits"])
    if causal and grid.ndim > 1:
        raise ValueError(f"causality is an order on a line, got {grid}: use Grid({grid.size}), or hide keys by a bias")
    if scale == 0:
        raise ValueError("extra channels are divided by the scale, got 0: give their logits as bias=")
    for x in extra:
        heads = x.shape[-3] if 3 <= x.ndim <= 4 else 0
        if heads not in (1, q.shape[1]) or x.shape[-2] != grid.length or (x.ndim == 4 and x.shape[0] != q.shape[0]):
            raise ValueError(
                f"extra channels must be (batch, heads, length, channels) = {(*q.shape[:3], '…')}, of one head or all, "
                f"with or without the batch, got {tuple(x.shape)}"
            )
    if extra.query.shape[-1] != extra.key.shape[-1]:
        raise ValueError(
            f"extra channels of queries and of keys are multiplied one by one, got {extra.query.shape[-1]} and "
            f"{extra.key.shape[-1]} of them"
        )
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return _run(q, k, v, extra, grid, causal, bias, scale, dropout_p)


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    extra: ExtraChannels,
    grid: Grid,
    causal: bool,
    bias: Tensor | None,
    scale: float,
    dropout_p: float,
) -> Tensor:
    query, key = extended(q, k, extra, scale)
    width = max(query.shape[-1], v.shape[-1])
    query, key, values = (F.pad(x, (0, width - x.shape[-1])) for x in (query, key, v))
    bias = bias if bias is None else bias.to(v.dtype)
    if causal and (grid.prefix or bias is not None):
        seen = visible(grid, q.device)
        bias, causal = seen if bias is None else bias.masked_fill(~seen, -torch.inf), False
    return fused(query, key, values, bias, scale, dropout_p, causal=causal)[..., : v.shape[-1]]


def attend(call: Call) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` by fused attention of extended queries and keys.

    Raises:
        ValueError: If α is not positive; where values are not to be looked at, the output is NaN instead.
    """
    gaussian = call.mask.gaussian
    if gaussian is not None and is_readable(gaussian[1]):
        check(gaussian[1], "bias_logits: alpha", ~(gaussian[1] <= 0), "must be positive to have a logarithm (law 10)")
    extra = factors(call.mask)
    return _run(call.q, call.k, call.v, extra, call.mask.grid, gaussian is None, call.bias, call.scale, call.dropout_p)
