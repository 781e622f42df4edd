"""Attention with a mask: one function for every placement, by the plain formula or the fastest exact way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, overload

import torch
from torch import Tensor

from retconv.attention import blocks, channels, recompute, reference, rows
from retconv.attention.fused import fused
from retconv.attention.inputs import check_bias, check_dropout, check_qkv, read_mask
from retconv.attention.placements import PLACEMENTS, Placement
from retconv.grid import Grid, GridLike
from retconv.masks import Forms, MaskLike
from retconv.operators import operator
from retconv.precision import entering
from retconv.watching import is_derived, is_differentiated, is_exported, is_readable


@dataclass(frozen=True)
class Call:
    """The checked arguments of a call."""

    name: str
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Forms
    scale: float
    bias: Tensor | None
    dropout_p: float

    @property
    def placement(self) -> Placement:
        """Where the mask acts."""
        return PLACEMENTS[self.name]

    @property
    def _biases(self) -> tuple[Tensor, ...]:
        """What acts on scores: the mask or its logarithm, and the bias."""
        values = self.placement.form(self.mask).values
        return (values,) if self.bias is None else (values, self.bias)

    def refusal(self, backend: str) -> str | None:
        """Why a backend does not apply, or None if it does."""
        if self.dropout_p and backend in ("recompute", "operator"):
            return f"it holds no weights to drop, and dropout_p is {self.dropout_p}"
        if backend == "recompute" and is_derived(self.q, self.k, self.v, *self._biases):
            return "it has a backward pass, but no derivative in forward mode or by torch.func"
        if backend == "channels" and self.mask.gaussian is None:
            return "the mask is not a GaussianMixtureMask of one component"
        if backend == "operator" and self.mask.kernel is None:
            return "the mask has no kernel"
        return None

    def choose(self) -> str:
        """The fastest exact backend, as measured on CPU by ``python -m retconv.bench attention``; else a plain one."""
        if is_exported():
            return "reference"
        if not self.placement.scores:
            return "operator" if self.refusal("operator") is None else "reference"
        if self.placement.adds:
            return self._choose_bias()
        return "recompute" if self._blocks() else "reference"

    def _blocks(self) -> bool:
        """Whether blocks apply and pay: on a CPU, and for more scores than a single block holds."""
        batch, heads, length, _ = self.q.shape
        large = batch * heads * length**2 >= blocks.BLOCK
        return large and self.q.device.type == "cpu" and self.refusal("recompute") is None

    def _choose_bias(self) -> str:
        gaussian = self.mask.gaussian
        if (
            gaussian is not None
            and self.bias is None
            # On a CPU, wider queries and keys cost more than a dense bias of few tokens. On an accelerator and in
            # stacked replicas sigma cannot be looked at: there ``backend="channels"`` is the user's to choose.
            and self.q.shape[2] >= rows.TABLE_TOKENS
            and is_readable(gaussian[0])
            and channels.precise(gaussian[0], self.mask.grid, self.q.dtype)
        ):
            return "channels"
        # On a CPU fused attention takes its slow, dense path as soon as its bias needs a gradient.
        return "recompute" if self._blocks() and is_differentiated(*self._biases) else "sdpa"


def _recompute(call: Call) -> Tensor:
    return recompute.attend(call.name, call.q, call.k, call.v, call.mask, call.scale, call.bias)


def _sdpa(call: Call) -> Tensor:
    """The logarithm of the mask as the bias of fused attention."""
    bias = call.mask.log.entries.to(call.q.dtype)[None]
    bias = bias if call.bias is None else bias + call.bias.to(bias.dtype)
    return fused(call.q, call.k, call.v, bias, call.scale, call.dropout_p)


def _channels(call: Call) -> Tensor:
    assert call.mask.gaussian is not None
    return channels.attend(
        call.q, call.k, call.v, call.mask.gaussian, call.mask.grid, call.scale, call.bias, call.dropout_p
    )


def _operator(call: Call) -> Tensor:
    """``M V`` without M; the ones of prefix tokens are sums of values."""
    kernel, grid, v = call.mask.kernel, call.mask.grid, call.v
    assert kernel is not None
    prefix, body = v[..., : grid.prefix, :], v[..., grid.prefix :, :]
    out = operator(kernel, grid.without_prefix())(body)
    if not grid.prefix:
        return out
    total = prefix.sum(dim=-2, keepdim=True)
    whole = (total + body.sum(dim=-2, keepdim=True)).expand_as(prefix)
    return torch.cat([whole, out + total], dim=-2)


_RUN: dict[str, Callable[[Call], Tensor]] = {
    "recompute": _recompute,
    "sdpa": _sdpa,
    "channels": _channels,
    "operator": _operator,
}


@overload
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: GridLike,
    *,
    placement: str,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: Literal[False] = False,
    backend: str = "auto",
) -> Tensor: ...


@overload
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: GridLike,
    *,
    placement: str,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: Literal[True],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: GridLike,
    *,
    placement: str,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with a mask, with scores ``S = Q Kᵀ · scale`` and the mask ``M[q, k] = K[k − q]``.

    ================ ========================== ================================================================
    placement        output                     what it is
    ================ ========================== ================================================================
    multiply_logits  softmax(M ⊙ S + B) V       A weight of 0 does not hide a key: its logit becomes 0, like that
                                                of a key without affinity. A mask that is everywhere t is a
                                                temperature 1/t. Any real mask will do.
    bias_logits      softmax(S + log M + B) V   ``multiply_weights`` with rows normalised to sum 1 (law 18). A
                                                weight of 0 hides the key; a negative one is refused (law 10).
                                                Where the mask is one Gaussian, log M is a dot product of D + 1
                                                extra channels (law 20, backend ``"channels"``). ALiBi and Swin
                                                give their bias itself: pass it as ``bias`` beside a neutral mask.
    multiply_weights (softmax(S + B) ⊙ M) V     Rows no longer sum to 1. Any real mask will do.
    retention        (S ⊙ M) V                  No softmax: a convolution of the outer products k_j v_jᵀ with K
                                                (law 14). This is the dense form, for a mask in a vision model.
    convolution      M V                        The mask alone mixes tokens, a depthwise convolution of V (law 1).
                                                Queries, keys and the scale are not read. The neutral 1 of prefix
                                                tokens is taken literally: such a row is the sum of all values.
    ================ ========================== ================================================================

    A row whose keys are all hidden, by the mask or by a bias of −∞, is 0, with finite gradients.

    Args:
        q: Queries ``(batch, heads, length, d)``, with ``length = grid.length``: prefix tokens (class token, registers)
            first, then the grid in row-major order. For windows (Swin) the batch is that of all windows and the grid
            is the window's.
        k: Keys, as q.
        v: Values ``(batch, heads, length, d_v)``.
        mask: In any form (see ``retconv.masks.Forms``); one head serves all. Kernels and modules are neutral (1) at
            prefix tokens. It is cast to the dtype of the scores, and gradients flow to it.
        grid: A ``Grid``, or its shape where there is no prefix token.
        placement: Where the mask acts, a name of ``PLACEMENTS``, which has formula and source of each.
        scale: Of the scores; ``d^(−1/2)`` if not given.
        bias: B, logits added last before the softmax, broadcastable to ``(batch, heads, length, length)``: a relative
            position bias, or the shift mask of windows with −100 or −∞.
        dropout_p: Probability with which a weight is dropped, others being divided by ``1 − dropout_p``; pass 0 when
            evaluating, as for ``scaled_dot_product_attention``.
        return_weights: Also return the weights that multiply V, before dropout.
        backend: ``"reference"`` (the formula, line by line), ``"auto"`` (the fastest exact one for device and size), or
            one of the placement's ``backends``.

    Returns:
        The output ``(batch, heads, length, d_v)``, or the pair of it and of the weights ``(batch, heads, length,
        length)``, in the dtype of q, k and v, under autocast in its dtype (see ``retconv.precision``).

    Raises:
        ValueError: If shapes or dtypes do not fit, the placement is unknown, a bias is given without a softmax, the
            dropout is no probability, a backend does not apply, or a weight that is to be logged is negative.
        DenseLimitError: If a backend would form too large a mask.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f"unknown placement {placement!r}: choose one of {sorted(PLACEMENTS)}")
    rules, grid = PLACEMENTS[placement], Grid.of(grid)
    q, k, v = entering(q), entering(k), entering(v)
    check_qkv(q, k, v, grid)
    check_dropout(dropout_p)
    if bias is not None:
        if not rules.softmax:
            raise ValueError(f"{placement} has no softmax, so a bias on logits has no meaning: leave it out")
        check_bias(bias, q)
    if backend not in ("auto", *rules.backends):
        raise ValueError(f"{placement} has no backend {backend!r}: choose 'auto' or one of {', '.join(rules.backends)}")
    if return_weights and backend not in ("auto", "reference"):
        raise ValueError(f"backend {backend!r} never holds the weights: use backend='reference' to return them")
    forms = read_mask(mask, grid, q.shape[1])
    call = Call(placement, q, k, v, forms, q.shape[-1] ** -0.5 if scale is None else scale, bias, dropout_p)
    name = "reference" if return_weights else call.choose() if backend == "auto" else backend
    if name == "reference":
        out, weights = reference.attend(rules, q, k, v, forms, call.scale, bias, dropout_p)
        return (out.to(v.dtype), weights.to(v.dtype)) if return_weights else out.to(v.dtype)
    reason = call.refusal(name)
    if reason is not None:
        raise ValueError(f"backend {name!r} does not apply: {reason}; use backend='auto'")
    # Autocast's sums are float32 on CUDA.
    return _RUN[name](call).to(v.dtype)


multiply_logits = partial(attend, placement="multiply_logits")
bias_logits = partial(attend, placement="bias_logits")
multiply_weights = partial(attend, placement="multiply_weights")
retention = partial(attend, placement="retention")
convolution = partial(attend, placement="convolution")
