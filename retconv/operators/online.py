"""``M x`` of a causal mask while the tokens of x arrive: tiles of a power of two tokens, O(log² N) a token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import check, require_tensors
from retconv.masks import Forms, MaskLike
from retconv.operators.one_sided import OneSidedProduct, reach
from retconv.precision import as_written, entering
from retconv.watching import (
    has_tangent,
    is_readable,
    is_seen,
    is_transformed,
    unwatched,
)


class Tiles:
    """What tokens that have arrived mean for those to come, each pair of tokens once.

    Blocks of ``leaf`` tokens are for the caller to do directly. When a block is full at a position p, which is the leaf
    times an odd number times 2^j, the last ``leaf · 2^j`` tokens reach as many that follow, by one transform: what
    earlier ones mean for those was done before, by larger tiles (van der Hoeven's relaxed multiplication). What is
    done in advance is kept until its tokens arrive: for at most n / 2 of them.

    Args:
        kernel: ``(heads, 2n − 1)``, in the computing dtype.
        size: n.
    """

    def __init__(self, kernel: Tensor, size: int) -> None:
        self.size = size
        product = OneSidedProduct(kernel, Grid(size), "past")
        self.leaf, self._spectra, self._block = product.leaf, product.spectra, product.block[:, 0]
        self._ahead = kernel.new_zeros(kernel.shape[0], 0, 1)
        self._origin = 0

    def pieces(self, position: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Cut the next tokens where blocks end: the first token of the block, the first and last + 1 of the piece."""
        end = position + count
        while position < end:
            first = position - position % self.leaf
            stop = min(end, first + self.leaf)
            yield first, position, stop
            position = stop

    def weights(self, first: int, start: int, stop: int) -> Tensor:
        """The mask of queries ``start … stop − 1`` and keys ``first … stop − 1`` of one block, ``(heads, …, …)``."""
        return self._block[:, start - first : stop - first, : stop - first]

    def ahead(self, start: int, stop: int) -> Tensor | None:
        """What earlier blocks mean for these tokens of one block, ``(heads, tokens, columns)``; None in the first."""
        return self._ahead[:, start - self._origin : stop - self._origin] if self._origin else None

    def tile(self, position: int) -> int:
        """How many tokens, ending here, reach as many others now; 0 within a block and at the line's end."""
        if position % self.leaf or position >= self.size:
            return 0
        blocks = position // self.leaf
        return self.leaf * (blocks & -blocks)

    def add(self, position: int, columns: int, parts: Iterable[tuple[slice, Tensor]]) -> None:
        """Let a tile reach the tokens after a position.

        Args:
            position: How many tokens have arrived, of which ``tile`` says how many reach further.
            columns: Of all parts.
            parts: Some columns, and of those the tile's tokens, ``(heads, size, …)``.
        """
        size = self.tile(position)
        end = min(position + size, self.size)
        if size == position:  # all that was done in advance has been read
            self._origin = position
            self._ahead = self._block.new_empty(self._block.shape[0], end - position, columns)
            self._ahead.zero_()
        spectrum = self._spectra[(size // self.leaf).bit_length() - 1]
        for part, x in parts:
            onto = self._ahead[:, position - self._origin : end - self._origin, part]
            onto += reach(x[:, None], spectrum)[:, 0, : end - position]


def causal_kernel(mask: MaskLike, size: int, name: str) -> Tensor:
    """The kernel of a causal mask on a line as a snapshot, ``(heads, 2n − 1)``.

    Raises:
        ValueError: If ``torch.func`` or forward mode watches it, or it is looked at and weighs the future. On a device
            where it is not looked at, a head that does is NaN.
        NotAConvolutionError: If it has none.
    """
    kernel = Forms.of(mask, Grid(size)).convolution().kernel
    assert kernel is not None
    refuse(name, is_transformed(kernel) or has_tangent(kernel))
    with unwatched():
        kernel = kernel.detach().clone()
        future = kernel[:, size:]
        if is_readable(kernel):
            check(future, f"{name}: the kernel", future == 0, "must be 0 for δ > 0, or use operator or retention")
            return kernel
        return kernel.masked_fill((future != 0).any(dim=1, keepdim=True), torch.nan)


def refuse(name: str, watched: bool) -> None:
    """Raise a ``ValueError`` if somebody watches what is overwritten."""
    if watched:
        raise ValueError(
            f"{name}.step overwrites its memory, and has no gradient: use torch.no_grad(), or operator or retention "
            "where autograd or torch.func watches"
        )


def check_room(name: str, position: int, count: int, size: int) -> None:
    """Raise a ``ValueError`` if so many tokens do not fit onto the line any more."""
    if position + count > size:
        raise ValueError(
            f"{name}: {position} tokens and {count} more do not fit into length {size}: make it for a longer line"
        )


class OnlineConvolution:
    """``y = M x`` token by token, for any causal mask on a line: ``y_n = Σ_{m ≤ n} K[m − n] x_m``.

    Exact, as ``operator(mask, length) @ x`` up to rounding of the largest token: by FFT a loud one costs digits of
    quiet ones far behind it. A token costs O(log² N) for each column on average, by transforms of 2, 4, … times 64
    tokens; the dearest, after a power of two, O(N log N). Summing over all tokens anew is O(N): on one CPU core, for
    256 channels with a kernel each, 2.8 ms a token at N = 16,384, where this takes 0.13 ms; at 1,024 tokens 0.23 and
    0.15 ms. It remembers x and, for tokens to come, at most N / 2 sums a column.

    It is for inference: nothing is kept for a backward pass. It is a snapshot of the mask.

    Args:
        mask: A kernel ``(heads, 2 length − 1)`` that is 0 for δ > 0, or a causal mask in any form that has one.
        length: N, the most tokens that may come.

    Attributes:
        position: Number of tokens seen.

    Raises:
        ValueError: If the mask weighs the future (on an accelerator, where it is not looked at, it gives NaN).
        NotAConvolutionError: If it has no kernel.

    Examples:
        >>> online = OnlineConvolution(retconv.RetNetMask(heads=2), length=1000)
        >>> online.step(torch.randn(2, 1, 8)).shape
        torch.Size([2, 1, 8])

    Source:
        Oncescu et al. 2024, Flash Inference (arXiv 2410.12982): tiles of a power of two tokens. There
        each tile is as small as one token; here blocks of 64 are products with a matrix. van der Hoeven 1997, 2002.
    """

    def __init__(self, mask: MaskLike, length: int) -> None:
        self._kernel = causal_kernel(mask, length, "OnlineConvolution")
        self._tiles: Tiles | None = None
        self._seen = torch.empty(0)
        self._sequences: tuple[int, ...] = ()
        self.length, self.position = length, 0

    def step(self, x: Tensor) -> Tensor:
        """Take the next tokens in.

        Args:
            x: ``(…, heads, N, columns)``: the next N tokens, one or many.

        Returns:
            Likewise, in x's dtype, under autocast in its dtype; half types are computed in float32.

        Raises:
            ValueError: If the heads disagree, shape or dtype are not those of the tokens before, x is not floating,
                there is no room, or autograd or ``torch.func`` watches.
        """
        refuse("OnlineConvolution", is_seen(x))
        require_tensors(x=x)
        heads, x = self._kernel.shape[0], entering(x)
        if x.ndim < 3 or not x.is_floating_point() or heads not in (1, x.shape[-3]) or not x.numel():
            raise ValueError(
                f"OnlineConvolution: x must be floating (…, {heads}, N, columns) and not empty, got {x.dtype} of shape "
                f"{tuple(x.shape)}"
            )
        count, sequences = x.shape[-2], (*x.shape[:-2], x.shape[-1])
        if self.position and sequences != self._sequences:
            raise ValueError(
                f"OnlineConvolution: tokens before were (…, N, columns) of {self._sequences}, got {sequences}: make a "
                "new one for other sequences"
            )
        self._sequences = sequences
        check_room("OnlineConvolution", self.position, count, self.length)
        with unwatched(), as_written(x.device):
            rows = math.prod(x.shape[:-2]) // heads
            # The batch, and the heads of a mask of one, are further columns.
            flat = x.reshape(rows, heads, count, -1).permute(1, 2, 0, 3).flatten(2)
            out = self._run(flat.float() if x.dtype.itemsize < 4 else flat)
            return out.unflatten(2, (rows, -1)).permute(2, 0, 1, 3).reshape(x.shape).to(x.dtype)

    def _run(self, x: Tensor) -> Tensor:
        """``(heads, N, columns)``."""
        if self._tiles is None:
            self._tiles = Tiles(self._kernel.to(x.device, x.dtype), self.length)
            self._seen = x.new_empty(x.shape[0], self.length, x.shape[2])
        if self._seen.dtype != x.dtype:
            raise ValueError(
                f"OnlineConvolution: tokens before were of {self._seen.dtype}, got {x.dtype}: make a new one for other "
                "sequences"
            )
        tiles, begin, out = self._tiles, self.position, []
        self._seen[:, begin : begin + x.shape[1]] = x
        for first, start, stop in tiles.pieces(begin, x.shape[1]):
            y = tiles.weights(first, start, stop) @ self._seen[:, first:stop]
            ahead = tiles.ahead(start, stop)
            out.append(y if ahead is None else y + ahead)
            self.position = stop
            if size := tiles.tile(stop):
                tiles.add(stop, x.shape[2], [(slice(None), self._seen[:, stop - size : stop])])
        return torch.cat(out, dim=1)
