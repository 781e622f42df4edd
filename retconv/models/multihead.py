"""``torch.nn.MultiheadAttention`` around an attention of ours: its projections, masks and weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_PARAMETERS = inspect.signature(F.multi_head_attention_forward).parameters
_DEFAULTS = {name: one.default for name, one in _PARAMETERS.items() if one.default is not one.empty}


def given_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> SimpleNamespace:
    """The arguments of torch's function by name, however they were given; what was not given has its default."""
    return SimpleNamespace(**{**_DEFAULTS, **dict(zip(_PARAMETERS, args, strict=False)), **kwargs})


def multihead_attention(attend: Callable[..., tuple[Tensor, Tensor | None]], *args: Any, **kwargs: Any) -> Any:
    """What ``torch.nn.functional.multi_head_attention_forward`` computes, with another attention inside.

    A module that appends keys (``bias_k``, ``add_zero_attn``) has no square mask and never comes here.

    Args:
        attend: ``(q, k, v, bias, dropout_p, need_weights=…)`` to output and weights, all with axes ``(batch, heads,
            length, …)``.
        *args: That function's arguments.
        **kwargs: The same by name.

    Returns:
        The output ``(length, batch, channels)``, and the weights ``(batch, length, length)``, or of each head, if
        wanted; both without the batch if the queries have none.
    """
    given = given_arguments(args, kwargs)
    batched = given.query.ndim == 3
    tokens = [x if batched else x[:, None] for x in (given.query, given.key, given.value)]
    separate = (given.q_proj_weight, given.k_proj_weight, given.v_proj_weight)
    projections = separate if given.use_separate_proj_weight else given.in_proj_weight.chunk(3)
    biases = (None,) * 3 if given.in_proj_bias is None else given.in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, weight, bias).unflatten(-1, (given.num_heads, -1)).permute(1, 2, 0, 3)
        for x, weight, bias in zip(tokens, projections, biases, strict=True)
    )
    bias = None
    if given.attn_mask is not None:
        added = _added(given.attn_mask, q)
        bias = added.unflatten(0, (-1, given.num_heads)) if added.ndim == 3 else added[None, None]
    if given.key_padding_mask is not None:
        padding = _added(given.key_padding_mask, q)
        padding = (padding if batched else padding[None])[:, None, None]
        bias = padding if bias is None else bias + padding
    dropout_p = given.dropout_p if given.training else 0.0
    out, weights = attend(q, k, v, bias, dropout_p, need_weights=given.need_weights)
    out = F.linear(out.permute(2, 0, 1, 3).flatten(2), given.out_proj_weight, given.out_proj_bias)
    if given.need_weights and weights is not None and given.average_attn_weights:
        weights = weights.mean(dim=1)
    if not given.need_weights:
        weights = None
    return (out, weights) if batched else (out[:, 0], None if weights is None else weights[0])


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add, as torch's module gives it: what is true is hidden."""
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask
