"""``torch.nn.MultiheadAttention`` around an attention of ours: its projections, masks and weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def multihead_attention(
    attend: Callable[..., tuple[Tensor, Tensor | None]],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: None,
    bias_v: None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """What ``torch.nn.functional.multi_head_attention_forward`` computes, with another attention inside.

    The arguments are its own, by which modules call it, but for the first. Both masks are numbers to add by now. A
    module that appends keys (``bias_k``, ``add_zero_attn``) has no square mask and never comes here.

    Args:
        attend: ``(q, k, v, bias, dropout_p, need_weights=…) -> (out, weights)`` of ``(batch, heads, length, channels)``.

    Returns:
        The output ``(length, batch, channels)``, and the weights ``(batch, length, length)``, or of each head, if
        wanted; both without the batch if the queries have none.
    """
    batched = query.ndim == 3
    q, k, v = query, key, value
    if not batched:
        q, k, v = (x[:, None] for x in (q, k, v))
    separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    weights_in = separate if in_proj_weight is None else in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, weight, bias).unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)  # type: ignore[arg-type]
        for x, weight, bias in zip((q, k, v), weights_in, biases, strict=True)
    )
    bias = None
    if attn_mask is not None:
        bias = attn_mask.unflatten(0, (-1, num_heads)) if attn_mask.ndim == 3 else attn_mask[None, None]
    if key_padding_mask is not None:
        padding = key_padding_mask if batched else key_padding_mask[None]
        bias = padding[:, None, None] if bias is None else bias + padding[:, None, None]
    out, weights = attend(q, k, v, bias, dropout_p if training else 0.0, need_weights=need_weights)
    out = F.linear(out.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    if not need_weights or weights is None:
        return (out if batched else out[:, 0]), None
    weights = weights.mean(dim=1) if average_attn_weights else weights
    return (out, weights) if batched else (out[:, 0], weights[0])
