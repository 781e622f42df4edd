"""Retention along one axis in chunks: pairs within a chunk as products, whole chunks through a carried state."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.convert import unfold
from retconv.kernels import Exponentials

#: Least and most tokens of a chunk unless told otherwise.
LEAST, MOST = 32, 128


def chunk_length(d: int, e: int) -> int:
    """Tokens of a chunk: the power of two next to √(4de), about where states cost as much as products within chunks."""
    return min(MOST, max(LEAST, 1 << (2 * math.isqrt(d * e) - 1).bit_length()))


def chunkwise(q: Tensor, k: Tensor, v: Tensor, line: Exponentials, chunk: int, memory: Tensor | None = None) -> Tensor:
    """Retention with a sum of exponentials, causal or two-sided, in O(N).

    A key at distance ``(C − 1 − j) + C m + (i + 1)`` before a query, j and i their places in chunks of C tokens with m
    whole chunks between, weighs ``λ^(C−1−j) · (λ^C)^m · λ^(i+1)``: the key's chunk gives ``Σ_j λ^(C−1−j) k_j v_jᵀ``,
    the recursion between chunks multiplies by λ^C, and the query takes with ``w λ^(i+1)``. Keys after a query likewise,
    backwards. No exponent is negative, so no γ overflows at any chunk length.

    Args:
        q: ``(batch, heads, N, d)``.
        k: ``(batch, heads, N, d)``.
        v: ``(batch, heads, N, e)``.
        line: The kernel, times the scale of the scores.
        chunk: Tokens of a chunk C; it need not divide N.
        memory: ``(batch, heads, order, d, e)``, the state of a causal recurrence before the first token, or None.

    Returns:
        ``(batch, heads, N, e)``.
    """
    size = q.shape[2]
    chunk = min(chunk, size)
    padding = -size % chunk
    q, k, v = ((F.pad(t, (0, 0, 0, padding)) if padding else t).unflatten(2, (-1, chunk)) for t in (q, k, v))
    # shapes now: (batch, heads, chunks, C, features)
    inner = unfold(line.kernel(chunk).to(q.dtype), (chunk,))[:, None]
    scores = q @ k.mT
    watched = torch.is_grad_enabled() and (scores.requires_grad or inner.requires_grad)
    out = (scores * inner if watched else scores.mul_(inner)) @ v
    i = torch.arange(chunk, device=q.device)
    weights, poles = wide(line.past_weights, q), wide(line.past_poles, q)
    give, take = powers(poles, chunk - 1 - i), weights[..., None] * powers(poles, i + 1)
    _add_between(out, q, k, v, give, take, poles**chunk, memory, backwards=False)
    if line.future_weights is not None and line.future_poles is not None:
        weights, poles = wide(line.future_weights, q), wide(line.future_poles, q)
        give, take = powers(poles, i), weights[..., None] * powers(poles, chunk - i)
        _add_between(out, q, k, v, give, take, poles**chunk, None, backwards=True)
    return out.flatten(2, 3)[:, :, :size]


def absorb(k: Tensor, v: Tensor, line: Exponentials, chunk: int, memory: Tensor | None = None) -> Tensor:
    """The state of a causal recurrence after the tokens of ``k`` and ``v``, ``(batch, heads, order, d, e)``."""
    poles = wide(line.past_poles, k)
    for part_k, part_v in zip(k.split(chunk, dim=2), v.split(chunk, dim=2), strict=True):
        length = part_k.shape[2]
        give = powers(poles, torch.arange(length - 1, -1, -1, device=k.device))
        given = _states(part_k[:, :, None], part_v[:, :, None], _cast(give, k))[:, :, 0]
        memory = given if memory is None else torch.addcmul(given, memory, _cast(poles**length, k)[..., None, None])
    assert memory is not None  # there is at least one token
    return memory


def wide(parameter: Tensor, like: Tensor) -> Tensor:
    """A weight or pole on the device of the input and at least in its precision, where powers are taken."""
    return parameter.to(like.device, torch.promote_types(parameter.dtype, like.dtype))


def powers(poles: Tensor, exponent: Tensor) -> Tensor:
    """``λ^i`` for each pole ``(heads, order)`` and exponent, ``(heads, order, C)``."""
    return poles[..., None] ** exponent


def _cast(factor: Tensor, like: Tensor) -> Tensor:
    """Bring a real or complex factor to the precision of the input, after its powers are taken."""
    return factor.to(like.dtype.to_complex() if factor.is_complex() else like.dtype)


def _add_between(
    out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    give: Tensor,
    take: Tensor,
    step: Tensor,
    memory: Tensor | None,
    backwards: bool,
) -> None:
    """Add to ``out`` ``(batch, heads, chunks, C, e)`` what the chunks before (or after) hand to each chunk."""
    carried = _carried(_states(k, v, _cast(give, q)), _cast(step, q)[..., None], memory, backwards).flatten(3, 4)
    weighted = _weighted(q, _cast(take, q))  # shape: (batch, heads, chunks, C, order · d)
    if carried.is_complex():
        # Re(a s) = Re a · Re s − Im a · Im s, as one real product.
        weighted = torch.cat([weighted.real, -weighted.imag], dim=-1)
        carried = torch.cat([carried.real, carried.imag], dim=-2)
    out.flatten(0, 2).baddbmm_(weighted.flatten(0, 2), carried.flatten(0, 2))


def _carried(states: Tensor, factor: Tensor, memory: Tensor | None, backwards: bool) -> Tensor:
    """What arrives at each chunk: the states of the chunks before it (or after), each times λ^C for every step."""
    first = torch.zeros_like(states[:, :, :1]) if memory is None else memory[:, :, None].to(states.dtype)
    total = torch.cat([states[:, :, 1:], first] if backwards else [first, states[:, :, :-1]], dim=2)
    chunks = list(total.flatten(4).unbind(2))
    order = range(len(chunks) - 1, -1, -1) if backwards else range(len(chunks))
    if torch.is_grad_enabled() and (total.requires_grad or factor.requires_grad):
        for before, after in pairwise(order):
            chunks[after] = torch.addcmul(chunks[after], chunks[before], factor)
        return torch.stack(chunks, dim=2).view_as(total)
    for before, after in pairwise(order):
        chunks[after].addcmul_(chunks[before], factor)
    return total


def _weighted(x: Tensor, factor: Tensor) -> Tensor:
    """``x`` ``(…, C, d)`` times each exponential's factor ``(heads, order, C)``, side by side."""
    if factor.shape[1] == 1:
        return x * factor[:, :, :, None]
    return (x[..., None, :] * factor.mT[:, None, :, :, None]).flatten(-2)


def _states(k: Tensor, v: Tensor, give: Tensor) -> Tensor:
    """``Σ_j give_j k_j v_jᵀ`` of each chunk, ``(batch, heads, chunks, order, d, e)``."""
    weighted = _weighted(k, give)
    order, d = give.shape[1], k.shape[-1]
    if not weighted.is_complex():
        return (weighted.mT @ v).unflatten(3, (order, d))
    real, imag = (torch.cat([weighted.real, weighted.imag], dim=-1).mT @ v).chunk(2, dim=3)
    return torch.complex(real, imag).unflatten(3, (order, d))
