"""Retention along one axis in chunks: pairs within a chunk as products, whole chunks through a carried state."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.convert import unfold
from retconv.kernels.exponentials import Exponentials, powers
from retconv.kernels.parameters import compute_dtype
from retconv.operators.columns import add_product
from retconv.watching import is_watched

#: Least and most tokens of a chunk unless told otherwise.
LEAST, MOST = 16, 64


def chunk_length(d: int, e: int) -> int:
    """Tokens of a chunk: the power of two next to √(de), about where states cost as much as products within chunks."""
    return min(MOST, max(LEAST, 1 << (math.isqrt(d * e) - 1).bit_length()))


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
    # Small tables first: made between the large results, they would scatter these over memory and caches.
    inner = unfold(line.kernel(chunk).to(q.dtype), (chunk,))[:, None]
    past = _factors(line.past_weights, line.past_poles, q, chunk)
    future = None
    if line.future_weights is not None and line.future_poles is not None:
        future = _factors(line.future_weights, line.future_poles, q, chunk)
    out = _within(q, k, v, inner)
    out = _add_between(out, q, k, v, past, memory, backwards=False)
    if future is not None:
        out = _add_between(out, q, k, v, future, None, backwards=True)
    return out.flatten(2, 3)[:, :, :size]


def absorb(k: Tensor, v: Tensor, line: Exponentials, chunk: int, memory: Tensor | None = None) -> Tensor:
    """The state of a causal recurrence after the tokens of ``k`` and ``v``, ``(batch, heads, order, d, e)``."""
    chunk = min(chunk, k.shape[2])
    parts = list(zip(k.split(chunk, dim=2), v.split(chunk, dim=2), strict=True))
    last = parts[-1][0].shape[2]
    table = powers(wide(line.past_poles, k), chunk)
    near = _cast(table, k)
    # What each chunk gives, times the power of all that follows it, is summed wide: a recursion in the inputs' dtype
    # would round as often as there are chunks.
    whole = powers(table[..., chunk], len(parts))[..., : len(parts)]
    factors = torch.cat([torch.ones_like(table[..., :1]), table[..., last, None] * whole], dim=-1)[..., None, None]
    total = None if memory is None else memory * factors[:, :, -1]
    for after, (part_k, part_v) in zip(reversed(range(len(parts))), parts, strict=True):
        given = _states(part_k[:, :, None], part_v[:, :, None], near[..., : part_k.shape[2]].flip(-1))[:, :, 0]
        given, factor = given.to(factors.dtype), factors[:, :, after]
        total = given * factor if total is None else torch.addcmul(total, given, factor)
    assert total is not None  # there is at least one token
    return _cast(total, k)


def wide(parameter: Tensor, like: Tensor) -> Tensor:
    """A weight or pole on the device of the input and in the computing dtype, where powers are taken."""
    return parameter.to(like.device, torch.promote_types(parameter.dtype, compute_dtype(like.device)))


def _cast(factor: Tensor, like: Tensor) -> Tensor:
    """Bring a real or complex factor to the precision of the input, after its powers are taken."""
    return factor.to(torch.promote_types(like.dtype, torch.complex64) if factor.is_complex() else like.dtype)


def _within(q: Tensor, k: Tensor, v: Tensor, inner: Tensor) -> Tensor:
    """Pairs within a chunk, ``(batch, heads, chunks, C, e)``; the scores are freed at its end."""
    scores = q @ k.mT
    return (scores * inner if is_watched(scores, inner) else scores.mul_(inner)) @ v


def _factors(weights: Tensor, poles: Tensor, like: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """``λ^i`` and ``w λ^(i+1)`` for each place i of a chunk, ``(heads, order, C)``, and λ^C, still wide."""
    table = powers(wide(poles, like), chunk)
    near, far = table[..., :-1], wide(weights, like)[..., None] * table[..., 1:]
    return _cast(near, like), _cast(far, like), table[..., -1]


def _add_between(
    out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    factors: tuple[Tensor, Tensor, Tensor],
    memory: Tensor | None,
    backwards: bool,
) -> Tensor:
    """Add to ``out`` ``(batch, heads, chunks, C, e)`` what the chunks before (or after) hand to each chunk."""
    near, far, step = factors
    if backwards:
        carried = _carried(_states(k, v, near).flip(2), step, None).flip(2)
        weighted = _weighted(q, far.flip(-1))
    else:
        carried = _carried(_states(k, v, near.flip(-1)), step, memory)
        weighted = _weighted(q, far)  # shape: (batch, heads, chunks, C, order · d)
    carried = carried.flatten(3, 4)
    if carried.is_complex():
        # Re(a s) = Re a · Re s − Im a · Im s, as one real product.
        weighted = torch.cat([weighted.real, -weighted.imag], dim=-1)
        carried = torch.cat([carried.real, carried.imag], dim=-2)
    return add_product(out.flatten(0, 2), weighted.flatten(0, 2), carried.flatten(0, 2)).view(out.shape)


def _carried(states: Tensor, factor: Tensor, memory: Tensor | None) -> Tensor:
    """What arrives at each chunk: the states of the chunks before it, each times λ^C for every chunk between.

    First within groups of about √chunks chunks, all groups at once, then from group to group: a recursion over n chunks
    takes 2√n steps instead of n. Powers of λ^C are taken in its own, wide dtype, and the few states between groups are
    carried in it: of a slow decay, rounding would otherwise add up over the whole sequence.
    """
    count = states.shape[2]
    group = 1 << (count.bit_length() // 2)
    first = torch.zeros_like(states[:, :, :1]) if memory is None else memory[:, :, None].to(states.dtype)
    rest = states.new_zeros(*states.shape[:2], -count % group, *states.shape[3:])
    total = torch.cat([first, states[:, :, :-1], rest], dim=2).unflatten(2, (-1, group)).flatten(5)
    watched = is_watched(total, factor)
    add = torch.addcmul if watched else Tensor.addcmul_
    factor = factor[:, None, :, None]
    step, leap = _cast(factor, states.real), factor[:, 0] ** group
    places = list(total.unbind(3))  # shape of each: (batch, heads, groups, order, d · e)
    for place in range(1, group):
        places[place] = add(places[place], places[place - 1], step)
    ends = list(places[-1].to(factor.dtype).unbind(2))  # shape of each: (batch, heads, order, d · e)
    for end in range(1, len(ends)):
        ends[end] = add(ends[end], ends[end - 1], leap)
    if watched:
        before = torch.stack([torch.zeros_like(ends[0]), *ends[:-1]], dim=2).to(states.dtype)
        reach = [_cast(factor**place, states.real) for place in range(1, group)]
        within = [add(x, before, by) for x, by in zip(places[:-1], reach, strict=True)]
        total = torch.stack([*within, torch.stack(ends, dim=2).to(states.dtype)], dim=3)
    else:
        if factor.dtype != states.dtype:
            places[-1].copy_(torch.stack(ends, dim=2))
        power = factor[:, None] ** torch.arange(1, group, device=factor.device)[:, None, None]
        total[:, :, 1:, :-1].addcmul_(total[:, :, :-1, -1:], _cast(power, states.real))
    return total.flatten(2, 3)[:, :, :count].reshape(states.shape)


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
