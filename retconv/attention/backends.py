"""Which computation a placement runs: the plain reference, or the fastest exact one for device and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.attention import blocks, channels, recompute, reference, rows
from retconv.attention.inputs import check_bias, check_dropout, check_qkv, read_mask
from retconv.grid import Grid
from retconv.kernels.parameters import is_readable
from retconv.masks import Forms, MaskLike
from retconv.operators import operator
from retconv.precision import entering

#: The backends of each placement, beside ``"auto"``: the plain formula; blocks that are computed again in backward;
#: fused ``scaled_dot_product_attention`` with a bias, or with extra channels for one Gaussian; the operator M V.
BACKENDS: dict[str, tuple[str, ...]] = {
    "multiply_logits": ("reference", "recompute"),
    "bias_logits": ("reference", "recompute", "sdpa", "channels"),
    "multiply_weights": ("reference", "recompute"),
    "retention": ("reference", "recompute"),
    "convolution": ("reference", "operator"),
}

#: Placements without softmax, in which a bias on logits has no meaning.
LINEAR = ("retention", "convolution")


@dataclass(frozen=True)
class Call:
    """The checked arguments of a placement."""

    placement: str
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Forms
    scale: float
    bias: Tensor | None
    dropout_p: float

    def refusal(self, backend: str) -> str | None:
        """Why a backend does not apply, or None if it does."""
        if self.dropout_p and backend in ("recompute", "operator"):
            return f"it holds no weights to drop, and dropout_p is {self.dropout_p}"
        if backend == "channels" and self.mask.gaussian is None:
            return "the mask is not a GaussianMixtureMask of one component"
        if backend == "operator" and self.mask.kernel is None:
            return "the mask has no kernel"
        return None

    def choose(self) -> str:
        """The fastest exact backend, as measured on CPU by ``python -m retconv.bench attention``; else a plain one."""
        if torch.compiler.is_exporting():
            return "reference"
        if self.placement == "convolution":
            return "operator" if self.refusal("operator") is None else "reference"
        if self.placement == "bias_logits":
            return self._choose_bias()
        return "recompute" if self._blocks() else "reference"

    def _blocks(self) -> bool:
        """Whether blocks apply and pay: on a CPU, and for more scores than a single block holds."""
        batch, heads, length, _ = self.q.shape
        large = batch * heads * length**2 >= blocks.BLOCK
        return large and self.q.device.type == "cpu" and self.refusal("recompute") is None

    def _choose_bias(self) -> str:
        learnt = torch.is_grad_enabled() and any(
            x is not None and x.requires_grad for x in (self.bias, self.mask.values)
        )
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
        return "recompute" if learnt and self._blocks() else "sdpa"


def _recompute(call: Call) -> Tensor:
    return recompute.attend(call.placement, call.q, call.k, call.v, call.mask, call.scale, call.bias)


def _sdpa(call: Call) -> Tensor:
    """The logarithm of the mask as the bias of fused attention."""
    bias = call.mask.log.entries.to(call.q.dtype)[None]
    bias = bias if call.bias is None else bias + call.bias.to(bias.dtype)
    return F.scaled_dot_product_attention(
        call.q, call.k, call.v, attn_mask=bias, dropout_p=call.dropout_p, scale=call.scale
    )


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
    out = operator(kernel, grid.without_prefix()) @ body
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


def run(
    placement: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: Grid | int | tuple[int, ...],
    scale: float | None,
    bias: Tensor | None,
    dropout_p: float,
    return_weights: bool,
    backend: str,
) -> Tensor | tuple[Tensor, Tensor]:
    """Check the arguments of a placement, choose its backend, and run it."""
    grid = Grid.of(grid)
    q, k, v = entering(q), entering(k), entering(v)
    check_qkv(q, k, v, grid)
    check_dropout(dropout_p)
    if bias is not None:
        if placement in LINEAR:
            raise ValueError(f"{placement} has no softmax, so a bias on logits has no meaning: leave it out")
        check_bias(bias, q)
    if backend not in ("auto", *BACKENDS[placement]):
        raise ValueError(
            f"{placement} has no backend {backend!r}: choose 'auto' or one of {', '.join(BACKENDS[placement])}"
        )
    if return_weights and backend not in ("auto", "reference"):
        raise ValueError(f"backend {backend!r} never holds the weights: use backend='reference' to return them")
    forms = read_mask(mask, grid, q.shape[1])
    call = Call(placement, q, k, v, forms, q.shape[-1] ** -0.5 if scale is None else scale, bias, dropout_p)
    name = "reference" if return_weights else call.choose() if backend == "auto" else backend
    if name == "reference":
        out, weights = reference.attend(placement, q, k, v, forms, call.scale, bias, dropout_p)
        return (out.to(v.dtype), weights.to(v.dtype)) if return_weights else out.to(v.dtype)
    reason = call.refusal(name)
    if reason is not None:
        raise ValueError(f"backend {name!r} does not apply: {reason}; use backend='auto'")
    # Autocast's sums are float32 on CUDA.
    return _RUN[name](call).to(v.dtype)
