"""Causal retention token by token in place: what decoding needs of it, without a new state for each token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retconv.kernels import Exponentials
from retconv.kernels.parameters import require_tensors
from retconv.masks import MaskLike
from retconv.operators import compiled
from retconv.precision import as_written, autocast_dtype, entering
from retconv.retention.cancelling import STREAM, require_stable
from retconv.retention.inputs import (
    causal_line,
    check_heads,
    check_memory,
    checked,
    computed,
    default_scale,
    memory_of,
)
from retconv.retention.recurrence import RetentionState, factors, in_loops
from retconv.watching import is_differentiated, is_plain, is_traced, is_watched, unwatched


class Decoder:
    """Causal retention of the next tokens of a sequence, one or many at a time, in a memory that is overwritten.

    ``S ← γ S + k vᵀ`` and ``o = qᵀ S``, as ``recurrent`` has them, to which it agrees up to rounding. Mask and inputs
    are checked once, and again when shapes or dtypes change. Compiled loops run it where numba is installed, on a CPU
    and for real poles. A sequence cut at any point and continued by a ``Decoder`` from ``state`` has the bits of the
    uncut one, where both run compiled or neither does.

    It is for inference: nothing is kept for a backward pass. It is a snapshot of the mask: make a new one after an
    optimiser step.

    Args:
        mask: As for ``recurrent``.
        state: What ``recurrent``, ``chunkwise`` or another decoder's ``state`` returned; None before the first token.
            It is copied.
        scale: As in ``retention``.

    Attributes:
        position: Number of tokens seen.

    Raises:
        ValueError: If the mask is no causal sum of exponentials.

    Examples:
        >>> import torch
        >>> from retconv.masks import RetNetMask
        >>> from retconv.retention import Decoder, chunkwise
        >>> mask = RetNetMask(heads=2)
        >>> q, k, v = torch.randn(3, 1, 2, 100, 16)
        >>> out, state = chunkwise(q, k, v, mask)  # the prompt
        >>> decoder = Decoder(mask, state)
        >>> q, k, v = torch.randn(3, 1, 2, 1, 16)  # the next token
        >>> decoder.step(q, k, v).shape
        torch.Size([1, 2, 1, 16])
        >>> decoder.position
        101

    Source:
        Sun et al. 2023 (arXiv 2307.08621), eq. (6).
    """

    def __init__(self, mask: MaskLike, state: RetentionState | None = None, *, scale: float | None = None) -> None:
        with unwatched():
            line = causal_line(mask, 1)
            self._line = Exponentials(line.past_weights.clone(), line.past_poles.clone())
            self._memory = torch.empty(0) if state is None else state.memory.detach().clone()
        self._scale = scale
        self._decay = self._weight = torch.empty(0)
        self._arrays: tuple[Any, ...] | None = None
        self.position = 0 if state is None else state.position
        self._inputs: tuple[Any, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        # A copy has memory of its own, of which its next step makes views of its own.
        return vars(self) | {"_arrays": None, "_inputs": ()}

    @property
    def state(self) -> RetentionState | None:
        """A copy of the state after the tokens seen, for ``recurrent``, ``chunkwise`` or storage; None before any."""
        return RetentionState(self._memory.clone(), self.position) if self._memory.ndim > 1 else None

    def step(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Take the next tokens in.

        Args:
            q: Queries ``(batch, heads, N, d)``: the next N tokens, one or many.
            k: Keys ``(batch, heads, N, d)``.
            v: Values ``(batch, heads, N, e)``.

        Returns:
            ``(batch, heads, N, e)`` in q's dtype, under autocast in its dtype.

        Raises:
            ValueError: If shapes or dtypes disagree or are not those of the state, or autograd or ``torch.func``
                watches.
        """
        plain = is_plain(q, k, v)
        if is_differentiated(q, k, v) or (not plain and is_watched(q, k, v) and not is_traced()):
            raise ValueError(
                "Decoder.step overwrites its memory, and has no gradient: use torch.no_grad(), or recurrent(…) where "
                "autograd or torch.func watches"
            )
        if autocast_dtype(q.device) is not None:
            require_tensors(q=q, k=k, v=v)
            q, k, v = entering(q), entering(k), entering(v)
        inputs = (q.shape, k.shape, v.shape, q.dtype, k.dtype, v.dtype, q.device)
        if inputs != self._inputs:
            self._begin(q, k, v)
            self._inputs = inputs
        dtype = q.dtype
        q, k, v = computed(q, k, v)
        with as_written(q.device):
            arrays = self._arrays if plain else None
            out = self._in_torch(q, k, v) if arrays is None else in_loops(q, k, v, arrays)
        self.position += q.shape[2]
        return out if out.dtype == dtype else out.to(dtype)

    def _begin(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Check inputs of new shapes or dtypes, and prepare what steps of such have in common."""
        checked(q, k, v)
        check_heads(self._line.past_poles.shape[0], q)
        require_stable(self._line, computed(q, k, v)[0].dtype, max(q.shape[2], STREAM), "Decoder.step")
        shape, kind = memory_of(self._line, q, v)
        with unwatched():
            if self._memory.ndim == 1:  # there was no state, and this is the first token
                self._memory = torch.zeros(shape, dtype=kind, device=q.device)
            check_memory(self._memory, self._line, q, v)
            self._memory = self._memory.contiguous()
            of = factors(self._line, default_scale(q, self._scale), q, kind)
            self._decay, self._weight = (t.expand(q.shape[1], -1).contiguous() for t in of)
        self._arrays = None
        if not kind.is_complex and is_plain(self._memory) and compiled.loops() is not None:
            self._arrays = tuple(t.numpy() for t in (self._memory, self._decay, self._weight))

    def _in_torch(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.is_complex() != self._memory.is_complex():
            q, k, v = (t.to(self._memory.dtype) for t in (q, k, v))
        tokens = zip(q.unbind(2), k.unbind(2), v.unbind(2), strict=True)
        read = [self._token(*token) for token in tokens]
        return read[0].unsqueeze(2) if len(read) == 1 else torch.stack(read, dim=2)

    def _token(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """``(batch, heads, d)``, likewise, and ``(batch, heads, e)``."""
        batch, heads, e = v.shape
        memory = self._memory.mul_(self._decay[..., None, None]).addcmul_(k[:, :, None, :, None], v[:, :, None, None])
        weighted = self._weight[..., None] * q[:, :, None]  # shape: (batch, heads, order, d)
        rows = weighted.reshape(batch * heads, 1, -1)  # strides are those of q, which may be no view
        read = torch.bmm(rows, memory.view(batch * heads, -1, e)).view(batch, heads, e)
        return read.real if read.is_complex() else read
