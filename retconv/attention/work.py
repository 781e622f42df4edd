"""The tensors of one call of blockwise attention, and what is done to one block of scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.attention.cuts import Block, Plan
from retconv.attention.placements import Placement
from retconv.attention.rows import DenseRows, TableRows
from retconv.attention.sums import gathered, multiply
from retconv.precision import has_units


class Work:
    """The tensors of one call, in the layout in which blocks read them.

    Queries, keys and values become ``(heads, batch, length, d)``. Of half types, softmax and sums are float32; products
    are of the half type, and rounded to it, where the device has units for it, else float32 as well.
    """

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor,
        bias: Tensor | None,
        scale: float,
        shape: list[int],
        prefix: int,
        plan: Plan,
    ) -> None:
        self.batch, self.length = plan.batch, q.shape[2]
        self.dtype = torch.promote_types(q.dtype, torch.float32)
        self.operands = q.dtype if q.dtype != self.dtype and has_units(q.dtype, q.device) else self.dtype
        mask = mask.to(self.dtype)
        self.rows: DenseRows | TableRows = (
            TableRows(mask, plan, tuple(shape), prefix) if shape else DenseRows(mask, plan)
        )
        self.bias = bias if bias is None else bias.to(self.dtype)
        self.hides = any(bool(x.isneginf().any()) for x in (mask, self.bias) if x is not None)
        # Rounded to float16 before it is scaled, a score could overflow.
        q, self.scale = (q, scale) if self.operands == self.dtype else (q * scale, 1.0)
        self.long = self.length >= plan.cuts.long
        self.q, self.k, self.v = (gathered(x, self.operands) for x in (q, k, v))
        self.groups = list(self.rows.groups())
        self._largest = max((b.size[0] * b.size[1] for group in self.groups for b in group), default=0) * plan.width

    def scratch(self) -> Tensor:
        """A buffer that holds the scores of any block."""
        return self.q.new_empty(self._largest, dtype=self.dtype)

    def view(self, block: Block, tile: tuple[int, int], buffer: Tensor) -> Tensor:
        """The part of a buffer that a block takes, ``(matrices, rows, keys)``."""
        size = (*block.size, tile[1] - tile[0])
        return buffer[: size[0] * size[1] * size[2]].view(size)

    def keys(self, block: Block, tile: tuple[int, int], x: Tensor) -> Tensor:
        """A tile of keys or values of a block's elements, ``(elements, keys, d)``, as rows read them."""
        part = block.elements(x)[:, slice(*tile)]
        return part.flip(1) if self.rows.backwards else part

    def scores(self, block: Block, rows: Tensor, keys: Tensor, out: Tensor) -> Tensor:
        """Write the scores of a block."""
        multiply(out, rows, block.matrices(keys).mT, self.scale)
        return out

    def mask(self, block: Block, tile: tuple[int, int]) -> Tensor | None:
        """The mask of a block, or None for rows of prefix tokens, or keys of nothing else."""
        return self.rows.read(block, tile) if min(block.first, tile[1] - 1) >= self.rows.prefix else None

    def part(self, values: Tensor, mask: Tensor) -> Tensor:
        """The masked columns of a block's values, ``(heads, batch, *rows, masked)`` like its part of the mask."""
        return self._by_head(values, mask.shape[2:-1])[..., : mask.shape[-1]]

    def multiply(self, values: Tensor, mask: Tensor | None, out: Tensor) -> None:
        """Write the product with the mask, of which None is the neutral one, to ``out``, which may be the values."""
        if mask is not None:
            torch.mul(self.part(values, mask), mask, out=self.part(out, mask))
        if out is not values:
            masked = 0 if mask is None else mask.shape[-1]
            out[..., masked:] = values[..., masked:]

    def add_bias(self, block: Block, tile: tuple[int, int], grad: Tensor, values: Tensor) -> None:
        """Add the gradient of a block's logits to that of the bias."""
        total = self.bias_part(block, tile, grad)
        total += self._by_head(values, (block.last - block.first,)).sum_to_size(total.shape)

    def bias_part(self, block: Block, tile: tuple[int, int], bias: Tensor) -> Tensor:
        """A view of the bias of a block, ``(heads, batch, rows, keys)``; axes may have length 1."""
        if bias.shape[1] > 1:
            bias = bias[:, block.start // self.batch : (block.stop - 1) // self.batch + 1]
        if bias.shape[0] > 1 and block.stop - block.start < self.batch:
            bias = bias[block.start % self.batch : (block.stop - 1) % self.batch + 1]
        if bias.shape[2] > 1:
            bias = bias[:, :, block.first : block.last]
        if bias.shape[3] > 1:
            bias = bias[..., slice(*tile)]
        return bias.transpose(0, 1)

    def _by_head(self, values: Tensor, rows: tuple[int, ...]) -> Tensor:
        elements = values.numel() // (rows[0] * values.shape[-1]) if len(rows) == 1 else 1
        heads = max(1, elements // self.batch)
        return values.view(heads, elements // heads, *rows, values.shape[-1])

    def weights(
        self,
        placement: Placement,
        block: Block,
        tile: tuple[int, int],
        scores: Tensor,
        mask: Tensor | None,
        out: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """What multiplies V; where the mask multiplies, it is ``out``, and ``scores`` keep what it multiplied.

        Of a tile they are those of its own softmax. For long sequences the largest logit and the largest weight of each
        row come with them, ``(matrices, rows, 2)``.
        """
        if placement.before == "multiply":
            self.multiply(scores, mask, out)
            scores = out
        elif placement.adds and mask is not None:
            self.part(scores, mask).add_(mask)
        hides = self.hides and (self.bias is not None or placement.adds)
        peaks = self._softmax(block, tile, scores, hides) if placement.softmax else None
        if placement.after:
            self.multiply(scores, mask, out)
            scores = out
        return scores, peaks

    def _softmax(self, block: Block, tile: tuple[int, int], values: Tensor, hides: bool) -> Tensor | None:
        """Add the bias and normalise, in place; where logits may be −∞, a row of nothing else becomes 0."""
        if self.bias is not None:
            self._by_head(values, (block.last - block.first,)).add_(self.bias_part(block, tile, self.bias))
        if not self.long and not hides:
            torch.softmax(values, dim=-1, out=values)
            return None
        top = values.amax(dim=-1, keepdim=True)
        torch.softmax(values, dim=-1, out=values)
        hidden = top == -math.inf
        if hides and bool(hidden.any()):
            values.masked_fill_(hidden, 0.0)
        if not self.long:
            return None
        largest = values.amax(dim=-1, keepdim=True)
        return torch.cat([top, largest.masked_fill_(hidden, 1.0)], dim=-1)
