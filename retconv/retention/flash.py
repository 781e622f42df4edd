"""Retention token by token for any causal kernel, which need be no sum of exponentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from retconv.masks import MaskLike
from retconv.operators.online import Tiles, causal_kernel, check_room, refuse
from retconv.precision import as_written
from retconv.retention.convolution import COPIES, budget_bytes
from retconv.retention.inputs import check_heads, checked, computed, default_scale
from retconv.watching import is_seen, unwatched


class FlashDecoder:
    """Retention of the next tokens of a sequence under any causal kernel on a line, exactly.

    ``o_n = q_n · Σ_{m ≤ n} K[m − n] k_m v_mᵀ``, as ``retention(…, method="parallel")`` has it up to rounding of
    the largest token: by FFT a loud one costs digits of quiet ones far behind it. Where K is a sum of few exponentials
    ``Decoder`` has a state of fixed size and is faster; for any other K this does the convolution of law 14 while its
    outer products arrive (relaxed multiplication, Flash Inference).

    A token costs O(d e log² N + 64 (d + e)) on average: blocks of 64 tokens are done by scores, and when one is full,
    it and those before it in a tile of a power of two tokens reach as many that follow, by a transform of d e columns.
    The dearest token, after a power of two, takes O(d e N log N). Scores with all tokens anew are O(N (d + e)) a token,
    without a transform: on one CPU core, with 32 heads in all of d = e = 8, they take 0.1 ms a token at N = 1,024 and
    1.6 ms at 16,384, this 0.23 and 0.35 ms. Large heads move the crossing up: one head of d = e = 64 has none below
    4,096. Memory for each head and element of the batch: N (d + e) numbers of keys and values, and at most N d e / 2
    sums for tokens to come.

    It is for inference: nothing is kept for a backward pass. It is a snapshot of the mask.

    Args:
        mask: A kernel ``(heads, 2 length − 1)`` that is 0 for δ > 0, or a causal mask in any form that has one; of as
            many heads as q, or of one for all.
        length: N, the most tokens that may come.
        scale: As in ``retention``.

    Attributes:
        position: Number of tokens seen.

    Raises:
        ValueError: If the mask weighs the future (on an accelerator, where it is not looked at, it gives NaN).
        NotAConvolutionError: If it has no kernel.

    Examples:
        >>> import torch
        >>> from retconv.retention import FlashDecoder
        >>> kernel = torch.cat([torch.rand(2, 100), torch.zeros(2, 99)], dim=1)  # δ = −99 … 99
        >>> decoder = FlashDecoder(kernel, length=100)
        >>> q, k, v = torch.randn(3, 1, 2, 70, 16)  # the prompt
        >>> out = decoder.step(q, k, v)
        >>> q, k, v = torch.randn(3, 1, 2, 1, 16)  # the next token
        >>> decoder.step(q, k, v).shape, decoder.position
        (torch.Size([1, 2, 1, 16]), 71)

    Source:
        Oncescu et al. 2024, Flash Inference (arXiv 2410.12982), for convolutions; law 14 makes retention
        one. There tiles begin at one token; here at 64.
    """

    def __init__(self, mask: MaskLike, length: int, *, scale: float | None = None) -> None:
        self._kernel = causal_kernel(mask, length, "FlashDecoder")
        self._scale = scale
        self._tiles: Tiles | None = None
        self._keys = self._values = torch.empty(0)
        self._sequences: tuple[Any, ...] = ()
        self.length, self.position = length, 0

    def step(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Take the next tokens in.

        Args:
            q: Queries ``(batch, heads, N, d)``: the next N tokens, one or many.
            k: Keys ``(batch, heads, N, d)``.
            v: Values ``(batch, heads, N, e)``.

        Returns:
            ``(batch, heads, N, e)`` in q's dtype, under autocast in its dtype; half types are computed in float32.

        Raises:
            ValueError: If shapes or dtypes disagree or are not those of the tokens before, there is no room, or
                autograd or ``torch.func`` watches.
        """
        refuse("FlashDecoder", is_seen(q, k, v))
        q, k, v = checked(q, k, v)
        check_heads(self._kernel.shape[0], q)
        check_room("FlashDecoder", self.position, q.shape[2], self.length)
        shape, dtype = v.shape, q.dtype
        if self._kernel.shape[0] == 1:
            # One mask for all heads: they are further elements of the batch.
            q, k, v = (t.flatten(0, 1)[:, None] for t in (q, k, v))
        q, k, v = computed(q, k, v)
        sequences = (*shape[:2], q.shape[3], shape[3], q.dtype)
        if self.position and sequences != self._sequences:
            raise ValueError(
                f"FlashDecoder: batch, heads, d, e and dtype of the tokens before were {self._sequences}, got "
                f"{sequences}: make a new one for another sequence"
            )
        self._sequences = sequences
        with unwatched(), as_written(q.device):
            return self._run(q * default_scale(q, self._scale), k, v).reshape(shape).to(dtype)

    def _run(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, heads, count, d = k.shape
        if self._tiles is None:
            self._tiles = Tiles(self._kernel.to(q.device, q.dtype), self.length)
            self._keys = k.new_empty(batch, heads, self.length, d)
            self._values = v.new_empty(batch, heads, self.length, v.shape[3])
        tiles, begin, out = self._tiles, self.position, []
        self._keys[:, :, begin : begin + count], self._values[:, :, begin : begin + count] = k, v
        for first, start, stop in tiles.pieces(begin, count):
            query = q[:, :, start - begin : stop - begin]
            scores = query @ self._keys[:, :, first:stop].mT * tiles.weights(first, start, stop)
            o = scores @ self._values[:, :, first:stop]
            ahead = tiles.ahead(start, stop)
            if ahead is not None:
                sums = ahead.unflatten(2, (batch, d, -1)).permute(2, 0, 1, 3, 4)  # shape: (batch, heads, tokens, d, e)
                o = o + (query[..., None, :] @ sums)[..., 0, :]
            out.append(o)
            self.position = stop
            if size := tiles.tile(stop):
                tiles.add(stop, batch * d * v.shape[3], self._outer(stop - size, stop))
        return torch.cat(out, dim=2)

    def _outer(self, start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
        """The outer products of these tokens in blocks of the batch and of features of k, ``(heads, tokens, …)``."""
        batch, _, _, d = self._keys.shape
        e = self._values.shape[3]
        per_feature = COPIES * self._keys.shape[1] * (stop - start) * e * self._keys.itemsize
        step = min(d, max(1, budget_bytes(self._keys.device) // per_feature))
        for b in range(batch):
            values = self._values[b, :, start:stop, None]
            for a in range(0, d, step):
                features = self._keys[b, :, start:stop, a : a + step, None]
                outer = (features * values).flatten(2)
                begin = (b * d + a) * e
                yield slice(begin, begin + outer.shape[2]), outer
