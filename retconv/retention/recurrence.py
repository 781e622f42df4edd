"""Retention token by token, with a state that can be kept, stored and continued (law 15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retconv.kernels import Exponentials
from retconv.operators import compiled
from retconv.operators.compiled import in_threads, ranges, threads, values
from retconv.retention.chunks import wide
from retconv.watching import is_differentiated, is_plain


@dataclass(frozen=True)
class RetentionState:
    """What a causal retention remembers: all it needs to go on.

    Attributes:
        memory: ``(batch, heads, order, d, e)``, for each exponential ``Σ_m λ^(n−m) k_m v_mᵀ`` after n tokens, real or
            complex as the poles are, in float64 for float64 inputs and else in float32.
        position: Number of tokens seen.

    Example:
        >>> q, k, v = torch.rand(3, 1, 2, 5, 4)
        >>> _, state = retconv.retention.chunkwise(q, k, v, retconv.RetNetMask(heads=2))
        >>> state.memory.shape, state.position
        (torch.Size([1, 2, 1, 4, 4]), 5)
    """

    memory: Tensor
    position: int

    def state_dict(self) -> dict[str, Any]:
        """A plain dictionary, which ``torch.save`` writes and ``torch.load`` reads with ``weights_only=True``."""
        return {"memory": self.memory, "position": self.position}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> RetentionState:
        """The inverse of ``state_dict``."""
        return cls(state["memory"], int(state["position"]))


def steps(
    q: Tensor, k: Tensor, v: Tensor, line: Exponentials, scale: float, memory: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``S_n = λ S_{n−1} + k_n v_nᵀ`` and ``o_n = s Re Σ_r w_r q_nᵀ S_n``, one token after the other.

    Each step does the same operations on the same layout wherever a sequence is cut, so that a sequence continued from
    a kept state has the bits of the uncut one. Compiled loops run it as they run ``Decoder``, unless somebody watches.

    Args:
        q: ``(batch, heads, N, d)``.
        k: ``(batch, heads, N, d)``.
        v: ``(batch, heads, N, e)``.
        line: The kernel, causal.
        scale: Of the scores, s.
        memory: ``(batch, heads, order, d, e)``, the state before the first token, or None.

    Returns:
        The output ``(batch, heads, N, e)`` and the state after the last token.
    """
    batch, heads, _, d = q.shape
    kind = torch.promote_types(q.dtype, torch.complex64) if line.past_poles.is_complex() else q.dtype
    decay, weight = factors(line, scale, q, kind)
    if memory is None:
        memory = torch.zeros(batch, heads, line.order, d, v.shape[-1], dtype=kind, device=q.device)
    of = (q, k, v, memory, decay, weight)
    if not kind.is_complex and is_plain(*of) and not is_differentiated(*of) and compiled.loops() is not None:
        memory = memory.detach().clone(memory_format=torch.contiguous_format)
        arrays = (memory, values(decay.expand(heads, -1)), values(weight.expand(heads, -1)))
        return in_loops(q, k, v, tuple(x.numpy() for x in arrays)), memory
    decay, weight = decay[..., None, None], weight[..., None, None]  # shape: (heads, order, 1, 1)
    memory = memory.contiguous()
    # Tokens go first and each is made contiguous: strides must not tell how long the sequence is.
    q, k, v = (t.to(kind).movedim(2, 0).contiguous() for t in (q, k, v))
    out = []
    for q_n, k_n, v_n in zip(q.unbind(0), k.unbind(0), v.unbind(0), strict=True):
        memory = torch.addcmul(memory * decay, k_n[:, :, None, :, None], v_n[:, :, None, None])
        read = (memory * (weight * q_n[:, :, None, :, None])).sum(dim=(2, 3))
        out.append(read.real if read.is_complex() else read)
    return torch.stack(out, dim=2), memory


def factors(line: Exponentials, scale: float, like: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Poles of a causal kernel, and its weights times a scale, multiplied wide and rounded once: ``(heads, order)``."""
    return wide(line.past_poles, like).to(kind), (scale * wide(line.past_weights, like)).to(kind)


def in_loops(q: Tensor, k: Tensor, v: Tensor, arrays: tuple[Any, ...]) -> Tensor:
    """``steps`` by compiled loops, unseen by autograd: the output.

    Args:
        q: ``(batch, heads, N, d)``.
        k: ``(batch, heads, N, d)``.
        v: ``(batch, heads, N, e)``.
        arrays: Of numpy: the memory ``(batch, heads, order, d, e)``, which is overwritten; poles; weights times the
            scale, ``(heads, order)`` each.
    """
    batch, heads, size, _ = v.shape
    q, k, v = values(q), values(k), values(v)
    out = torch.empty_like(v)
    given = (q.numpy(), k.numpy(), v.numpy(), out.numpy(), *arrays)
    in_threads(compiled.loops().decode, ranges(batch * heads, threads(arrays[0].size * size)), given)
    return out
