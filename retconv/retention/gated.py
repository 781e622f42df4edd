"""Retention with gates: one γ for each token, head and, where they read data, element of the batch (law 22).

The state of a head obeys ``S_n = γ_n S_{n−1} + k_n v_nᵀ`` with ``o_n = q_nᵀ S_n``, as Mamba-2's does (Dao and Gu 2024,
arXiv 2405.21060, section 6). Every factor is one exp of a sum of logarithms, none of which is positive: nothing
overflows, and a gate of 0 is a factor of 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels import Gates
from retconv.kernels.gates import above, segment_sums, wide
from retconv.retention.chunks import chunk_length

#: Chunks that hand their states on by one product of matrices; a recursion goes from each such group to the next.
GROUP = 16


def methods(gates: Gates) -> tuple[str, ...]:
    """The names of the methods that apply, the one that takes memory linear in the tokens last."""
    return ("parallel", "recurrent", "chunkwise") if gates.causal else ("parallel", "scan")


def run(method: str, q: Tensor, k: Tensor, v: Tensor, gates: Gates, scale: float, chunk: int | None) -> Tensor:
    """Retention by one of the methods, ``(batch, heads, N, e)``; q, k and v in the computing dtype."""
    logs = logs_of(gates, q)
    if method == "parallel":
        return ((q * scale) @ k.mT * gates.entries(Grid(gates.size)).to(q.dtype)) @ v
    if method == "recurrent":
        return steps(q * scale, k, v, logs)[0]
    chunk = chunk or chunk_length(q.shape[-1], v.shape[-1])
    out = chunkwise(q * scale, k, v, logs, chunk)[0]
    if gates.causal:
        return out
    # Backwards, token t is entered through the gate of the one after it in the order of the line.
    turned = F.pad(logs.flip(-1)[..., :-1], (1, 0))
    future, _ = chunkwise(q.flip(2) * scale, k.flip(2), v.flip(2), turned, chunk, itself=False)
    return out + future.flip(2)


def logs_of(gates: Gates, q: Tensor) -> Tensor:
    """The logarithms of gates for each element and head of such queries, ``(batch, heads, N)``, to be summed.

    Raises:
        ValueError: If they are of another batch than the queries.
    """
    logs = wide(gates.log_gamma).to(q.device)
    if logs.ndim == 3 and logs.shape[0] not in (1, q.shape[0]):
        raise ValueError(
            f"the gates are of a batch of {logs.shape[0]}, q has one of {q.shape[0]}: give one for each, or 1"
        )
    return logs.expand(*q.shape[:2], -1)


def steps(q: Tensor, k: Tensor, v: Tensor, logs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Token by token, from a state and to a state, each step with the same operations on the same layout.

    Args:
        q: ``(batch, heads, N, d)``, scaled.
        k: ``(batch, heads, N, d)``.
        v: ``(batch, heads, N, e)``.
        logs: ``(batch, heads, N)``; the first gate acts on the state.
        memory: ``(batch, heads, 1, d, e)``, or None.

    Returns:
        The output ``(batch, heads, N, e)`` and the state after the last token.
    """
    state = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1]) if memory is None else memory[:, :, 0].contiguous()
    tokens = (t.movedim(2, 0).contiguous().unbind(0) for t in (q, k, v, logs))
    out = []
    for q_n, k_n, v_n, log in zip(*tokens, strict=True):
        decay = log.exp().to(state.dtype)[..., None, None]
        state = torch.addcmul(state * decay, k_n[..., None], v_n[:, :, None])
        out.append((state * q_n[..., None]).sum(dim=2))
    return torch.stack(out, dim=2), state[:, :, None]


def chunkwise(
    q: Tensor, k: Tensor, v: Tensor, logs: Tensor, chunk: int, memory: Tensor | None = None, itself: bool = True
) -> tuple[Tensor, Tensor]:
    """In chunks, O(N): pairs within a chunk as products, whole chunks through a carried state.

    With a_t the logarithms of a chunk, its keys weigh ``exp Σ_{t > j} a_t`` at its end, a state that arrives weighs
    ``exp Σ_{t ≤ i} a_t`` at its query i, and ``exp Σ_t a_t`` when it leaves. Each is a sum of its own terms.

    Args:
        q: ``(batch, heads, N, d)``, scaled.
        k: ``(batch, heads, N, d)``.
        v: ``(batch, heads, N, e)``.
        logs: ``(batch, heads, N)``, in the computing dtype of sums.
        chunk: Tokens of a chunk; it need not divide N.
        memory: ``(batch, heads, 1, d, e)``, the state before the first token, or None.
        itself: Whether a query sees the key at its own place.

    Returns:
        The output ``(batch, heads, N, e)`` and the state after the last token, ``(batch, heads, 1, d, e)``.
    """
    size, dtype = q.shape[2], q.dtype
    chunk = min(chunk, size)
    # Tokens that fill the last chunk are 0 behind gates of 1: the state passes them unchanged.
    filling = -size % chunk
    q, k, v = (F.pad(t, (0, 0, 0, filling)).unflatten(2, (-1, chunk)) for t in (q, k, v))
    logs = F.pad(logs, (0, filling)).unflatten(2, (-1, chunk))  # shape: (batch, heads, chunks, C)
    later = above(chunk, logs.device)
    hidden = later if itself else ~later.mT
    inner = segment_sums(logs).masked_fill(hidden, -torch.inf).exp().to(dtype)
    arriving = logs.cumsum(dim=-1)
    leaving = F.pad(logs[..., 1:], (0, 1)).flip(-1).cumsum(dim=-1).flip(-1)
    states = (k * leaving.exp().to(dtype)[..., None]).mT @ v  # shape: (batch, heads, chunks, d, e)
    carried, last = _carried(states, arriving[..., -1], memory)
    out = (q @ k.mT * inner) @ v + (q * arriving.exp().to(dtype)[..., None]) @ carried
    return out.flatten(2, 3)[:, :, :size], last


def _carried(states: Tensor, logs: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
    """What arrives at each chunk ``(batch, heads, chunks, d, e)``, and the state after the last.

    Within groups by one product, between them by a recursion in the wide dtype, whose rounding would otherwise add up
    over the whole sequence.

    Args:
        states: ``(batch, heads, chunks, d, e)``, what each chunk gives by its end.
        logs: ``(batch, heads, chunks)``, of what it leaves of a state that arrives.
        memory: ``(batch, heads, 1, d, e)``, or None.
    """
    count, dtype = states.shape[2], states.dtype
    group = min(GROUP, count)
    filling = -count % group
    rows = F.pad(states.flatten(3), (0, 0, 0, filling)).unflatten(2, (-1, group))  # (batch, heads, groups, G, d · e)
    logs = F.pad(logs, (0, filling)).unflatten(2, (-1, group))
    # Row j is what the chunks up to j give to the next one, and the last row what they give to the next group.
    hidden = above(group, logs.device)
    handed = segment_sums(logs).masked_fill(hidden, -torch.inf).exp().to(dtype) @ rows
    through = logs.sum(dim=-1).exp()
    state = torch.zeros_like(rows[:, :, 0, 0]) if memory is None else memory[:, :, 0].flatten(2)
    state, before = state.to(logs.dtype), []
    for given, decay in zip(handed[..., -1, :].unbind(2), through.unbind(2), strict=True):
        before.append(state)
        state = given.to(state.dtype) + decay[..., None] * state
    reach = F.pad(logs[..., :-1], (1, 0)).cumsum(dim=-1).exp()  # shape: (batch, heads, groups, G)
    arriving = F.pad(handed[..., :-1, :], (0, 0, 1, 0))
    arriving = arriving + reach.to(dtype)[..., None] * torch.stack(before, dim=2).to(dtype)[..., None, :]
    d, e = states.shape[3:]
    return arriving.flatten(2, 3)[:, :, :count].unflatten(3, (d, e)), state.to(dtype).unflatten(2, (d, e))[:, :, None]
