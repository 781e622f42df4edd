"""The plain form of every placement: the formula, line by line, with autograd's own gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.attention.inputs import Call, drop
from retconv.attention.placements import Placement
from retconv.masks import Forms
from retconv.watching import is_readable


def attend(call: Call) -> tuple[Tensor, Tensor]:
    """Output ``(batch, heads, length, d)`` and weights ``(batch, heads, length, length)`` before dropout.

    Everything is computed in the dtype of the scores, to which the mask is cast. The order of operations is timm's, so
    that a neutral mask gives the bits of its plain attention.
    """
    v = call.v
    if not call.placement.scores:
        weights = call.acting.entries.to(v.dtype).expand(*v.shape[:2], -1, -1)
    else:
        scores = (call.q * call.scale) @ call.k.transpose(-2, -1)  # shape: (batch, heads, length, length)
        weights = weigh(call.placement, scores, call.acting, call.bias)
    return drop(weights, call.dropout_p) @ v, weights


def weigh(placement: Placement, scores: Tensor, acting: Forms, bias: Tensor | None = None) -> Tensor:
    """Weights of scores ``(batch, heads, length, length)`` under a mask, or its logarithm where that acts."""
    mask = acting.entries.to(scores.dtype)  # shape: (heads or 1, length, length)
    if placement.before is not None:
        scores = scores + mask if placement.adds else scores * mask
    if not placement.softmax:
        return scores
    if bias is not None:
        bias = bias.to(scores.dtype)
        scores = scores + bias
    # The kernel has each value of the mask once. As cast, like the bias: a half type may round a number to −∞.
    added = acting.values.to(scores.dtype) if placement.adds else None
    weights = _softmax(scores, hides=_hides(added, bias))
    return weights * mask.to(weights.dtype) if placement.after else weights


def _hides(*added: Tensor | None) -> bool:
    """Whether what is added to logits may hide keys: to look is cheap beside looking at all scores."""
    return any(not is_readable(x) or bool(x.isneginf().any()) for x in added if x is not None)


def _softmax(scores: Tensor, hides: bool) -> Tensor:
    """Softmax over keys. Where logits may be −∞, a row of nothing else has no weights: 0, as fused attention has it."""
    if not hides:
        return torch.softmax(scores, dim=-1)
    hidden = scores.amax(dim=-1, keepdim=True) == -torch.inf
    return torch.softmax(scores.masked_fill(hidden, 0.0), dim=-1).masked_fill(hidden, 0.0)
