"""Attention with a mask: one function for every placement, by the plain formula or the fastest exact way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypedDict, Unpack, overload

import torch
from torch import Tensor

from retconv.attention import channels, compiled_backend, flex_backend, recompute, reference, triton_backend
from retconv.attention.batched import folded, unfolded
from retconv.attention.cuts import Cuts
from retconv.attention.fused import fused
from retconv.attention.inputs import Call, check_dropout, check_qkv, logit_bias, read_mask
from retconv.attention.placements import PLACEMENTS
from retconv.cross import Cross
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import require_tensors
from retconv.masks import MaskLike
from retconv.masks.crossed import RectangularLike
from retconv.names import unknown
from retconv.operators import operator
from retconv.precision import entering
from retconv.watching import is_derived, is_differentiated, is_exported, is_readable

#: Where attention is cut into blocks.
CUTS = Cuts()
#: From this many tokens on the channel of a decay that is learnt is the fastest.
LEARNT = 64


def refusal(call: Call, backend: str) -> str | None:
    """Why a backend does not apply, or None if it does."""
    if call.crossed:
        return None if backend == "sdpa" else "queries and keys lie on two grids, which it does not know"
    if call.dropout_p and backend in ("recompute", "compiled", "triton", "flex", "operator"):
        return f"it holds no weights to drop, and dropout_p is {call.dropout_p}"
    if backend in ("recompute", "triton", "flex") and is_derived(call.q, call.k, call.v, *call.biases):
        return "it has a backward pass, but no derivative in forward mode or by torch.func"
    if backend in ("triton", "flex", "operator") and call.mask.kernel is None:
        return "the mask has no kernel"
    own = {"compiled": compiled_backend.refusal, "triton": triton_backend.refusal, "flex": flex_backend.refusal}
    own["channels"] = channels.refusal
    return own[backend](call) if backend in own else None


def choose(call: Call) -> str:
    """The fastest exact backend: on a CPU as ``retconv bench attention`` finds it, on a GPU the fused one."""
    if is_exported():
        return "reference"
    if call.crossed:
        slow = call.q.device.type == "cpu" and (call.q.dtype.itemsize < 4 or is_differentiated(*call.biases))
        return "sdpa" if call.placement.adds and not slow else "reference"
    if not call.placement.scores:
        return "operator" if refusal(call, "operator") is None else "reference"
    if call.q.device.type == "cuda" and refusal(call, "triton") is None:
        return "triton"
    if _favours_loops(call):
        return "compiled"
    batch, heads, length, _ = call.q.shape
    scores, cpu, half = batch * heads * length**2, call.q.device.type == "cpu", call.q.dtype.itemsize < 4
    # On a CPU the plain formula is faster on few scores, and in half types on more; but it keeps them for backward.
    large = scores >= CUTS.plain * (4 if half else 1) or (length >= CUTS.table and scores >= CUTS.block)
    blocks = cpu and large and refusal(call, "recompute") is None
    if not call.placement.adds:
        return "recompute" if blocks else "reference"
    gaussian = call.mask.gaussian
    if (
        gaussian is not None
        and refusal(call, "channels") is None
        and call.bias is None
        # On a CPU, wider queries and keys cost more than a dense bias of few tokens. On an accelerator and in stacked
        # replicas they cannot be looked at: there ``backend="channels"`` is the user's to choose.
        and length >= CUTS.table
        and all(map(is_readable, gaussian))
        # A weight of 0 hides every key, which no channel says.
        and bool((gaussian[1] > 0).all())
        and channels.precise(gaussian[0], call.mask.grid, call.q.dtype)
    ):
        return "channels"
    if _favours_decay(call):
        return "channels"
    # On a CPU fused attention takes a slow, dense path for half types, and as soon as its bias needs a gradient.
    if cpu and (half or is_differentiated(*call.biases)):
        return "recompute" if blocks else "reference"
    return "sdpa"


def _favours_decay(call: Call) -> bool:
    """Whether the one channel of a causal decay is the fastest, as measured on a CPU, and precise.

    Of 1,024 tokens or more other backends take 1.2 to 2.4 times as long, and from 64 on where γ is learnt, 0.95 to 2.3
    times: fused attention of a bias takes a slow path for its gradient.
    """
    decay, length = call.mask.decay, call.q.shape[2]
    if decay is None or refusal(call, "channels") or call.bias is not None or call.q.device.type != "cpu":
        return False
    learnt = is_differentiated(decay.gamma)
    return (
        length >= (LEARNT if learnt else CUTS.table)
        and is_readable(decay.gamma)
        and channels.precise_decay(decay.gamma, call.mask.grid, call.q.dtype, learnt=learnt)
    )


def _favours_loops(call: Call) -> bool:
    """Whether compiled loops are the fastest, as measured on a CPU: of few tokens and narrow heads (decision 23)."""
    length, channels = call.q.shape[2], max(call.q.shape[-1], call.v.shape[-1])
    # What adds its mask has fused attention beside it, which is as fast for heads half as wide.
    narrow = CUTS.narrow // 2 if call.placement.adds else CUTS.narrow
    return (
        call.placement.softmax
        and CUTS.short <= length <= compiled_backend.LENGTH
        and channels <= narrow
        and refusal(call, "compiled") is None
    )


def _sdpa(call: Call) -> Tensor:
    """The logarithm of the mask as the bias of fused attention."""
    bias = call.mask.log.entries.to(call.q.dtype)[None]
    bias = bias if call.bias is None else bias + call.bias.to(bias.dtype)
    return fused(call.q, call.k, call.v, bias, call.scale, call.dropout_p)


def _operator(call: Call) -> Tensor:
    """``M V`` without M; the ones of prefix tokens are sums of values."""
    mask, grid, v = call.mask.without_prefix(), call.mask.grid, call.v
    prefix, body = v[..., : grid.prefix, :], v[..., grid.prefix :, :]
    out = operator(mask, mask.grid)(body)
    if not grid.prefix:
        return out
    total = prefix.sum(dim=-2, keepdim=True)
    whole = (total + body.sum(dim=-2, keepdim=True)).expand_as(prefix)
    return torch.cat([whole, out + total], dim=-2)


_RUN: dict[str, Callable[[Call], Tensor]] = {
    "recompute": lambda call: recompute.attend(call, CUTS),
    "compiled": compiled_backend.attend,
    "triton": triton_backend.attend,
    "flex": flex_backend.attend,
    "sdpa": _sdpa,
    "channels": channels.attend,
    "operator": _operator,
}


class Options(TypedDict, total=False):
    """What may be left out in a call of ``attend``."""

    scale: float | None
    bias: Tensor | None
    dropout_p: float
    backend: str


@overload
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike | RectangularLike,
    grid: GridLike | Cross,
    *,
    placement: str,
    return_weights: Literal[False] = False,
    **options: Unpack[Options],
) -> Tensor: ...


@overload
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike | RectangularLike,
    grid: GridLike | Cross,
    *,
    placement: str,
    return_weights: Literal[True],
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor]: ...


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike | RectangularLike,
    grid: GridLike | Cross,
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
                                                extra channels (law 20, backend ``"channels"``), of a causal decay of
                                                one (law 21). ALiBi and Swin give log M itself: ``BiasMask``,
                                                ``BiasTableMask``, or ``Forms.of_log(bias, grid)``.
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
            prefix tokens. It is cast to the dtype of the scores, and gradients flow to it. Gates and query Gaussians
            may be of each element of the batch; no backend that needs a kernel serves them.
        grid: A ``Grid``, or its shape where there is no prefix token. Or a ``Cross``: k and v are then of its keys, the
            mask is what ``retconv.masks.between`` takes, and backends are ``"reference"``, of bias_logits ``"sdpa"``.
        placement: Where the mask acts, a name of ``PLACEMENTS``, which has formula and source of each.
        scale: Of the scores; ``d^(−1/2)`` if not given.
        bias: B, logits added last before the softmax, broadcastable to ``(batch, heads, length, length)``: a relative
            position bias, or the shift mask of windows with −100 or −∞.
        dropout_p: Probability with which a weight is dropped, others being divided by ``1 − dropout_p``; pass 0 when
            evaluating, as for ``scaled_dot_product_attention``.
        return_weights: Also return the weights that multiply V, before dropout.
        backend: ``"reference"`` (the formula, line by line), ``"auto"`` (the fastest exact one for device and size), or
            one of the placement's ``backends``. ``"compiled"`` runs on a CPU where numba is installed (``pip install
            'retconv[compiled]'``), in float32, for at most 256 tokens and 128 channels of a head, without bias, dropout
            and gradients; its first call ever compiles for some seconds. ``"triton"`` runs on GPUs, for masks with a
            kernel and heads of at most 128 channels, without bias and dropout; it sums the gradient of the kernel in no
            fixed order. ``"flex"`` is torch's FlexAttention, for masks with a kernel and heads of at least 16 channels,
            without bias and dropout; ``"auto"`` never takes it. On a CPU it is torch's formula for it, without
            gradients.

    Returns:
        The output ``(batch, heads, length, d_v)``, or the pair of it and of the weights ``(batch, heads, length,
        length)``, in the dtype of q, k and v, under autocast in its dtype (see ``retconv.precision``).

    Raises:
        ValueError: If shapes or dtypes do not fit, the placement is unknown, a bias is given without a softmax, the
            dropout is no probability, a backend does not apply, or a weight that is to be logged is negative.
        DenseLimitError: If a backend would form too large a mask.
        RuntimeError: If ``"flex"``, which compiles a program for each size, keeps as many as it may.

    Example:
        >>> q, k, v = torch.rand(3, 2, 3, 196, 16)  # (batch, heads, tokens, features)
        >>> mask = retconv.GaussianMixtureMask(heads=3)
        >>> attend(q, k, v, mask, (14, 14), placement="multiply_logits").shape
        torch.Size([2, 3, 196, 16])
    """
    if placement not in PLACEMENTS:
        raise ValueError(unknown("placement", placement, PLACEMENTS))
    rules, grid = PLACEMENTS[placement], grid if isinstance(grid, Cross) else Grid.of(grid)
    require_tensors(q=q, k=k, v=v)
    q, k, v = entering(q), entering(k), entering(v)
    check_qkv(q, k, v, grid)
    check_dropout(dropout_p)
    if bias is not None:
        bias = logit_bias(bias, q, k, rules)
    if backend not in ("auto", *rules.backends):
        raise ValueError(f"{placement} has no backend {backend!r}: choose 'auto' or one of {', '.join(rules.backends)}")
    if return_weights and backend not in ("auto", "reference"):
        raise ValueError(f"backend {backend!r} never holds the weights: use backend='reference' to return them")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    given = Call(rules, q, k, v, read_mask(mask, grid, q.shape[1]), scale, bias, dropout_p, isinstance(grid, Cross))
    call = folded(given)
    name = "reference" if return_weights else choose(call) if backend == "auto" else backend
    if name == "reference":
        out, weights = (unfolded(x, given) for x in reference.attend(call))
        return (out.to(v.dtype), weights.to(v.dtype)) if return_weights else out.to(v.dtype)
    reason = refusal(call, name)
    if reason is not None:
        raise ValueError(f"backend {name!r} does not apply: {reason}; use backend='auto'")
    # Autocast's sums are float32 on CUDA.
    return unfolded(_RUN[name](call), given).to(v.dtype)


multiply_logits = partial(attend, placement="multiply_logits")
bias_logits = partial(attend, placement="bias_logits")
multiply_weights = partial(attend, placement="multiply_weights")
retention = partial(attend, placement="retention")
convolution = partial(attend, placement="convolution")
