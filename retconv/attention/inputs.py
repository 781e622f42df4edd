"""What every placement checks at its boundary, and how it reads a mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.convert.shapes import check_kernel, check_mask
from retconv.grid import Grid
from retconv.kernels.parameters import check, check_real, is_readable
from retconv.masks import Mask, RetNetMask

#: A mask module, a kernel ``(heads, 2 n_1 − 1, …)`` or a mask tensor ``(heads, length, length)``.
MaskLike = Mask | Tensor


@dataclass(frozen=True)
class Source:
    """A mask as it was given: its kernel where it has one, else the dense tensor.

    Attributes:
        grid: The grid.
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, or None.
        tensor: ``(heads, length, length)``, or None.
        neutral: What rows and columns of prefix tokens hold.
        handed_in: Whether it was given as values, not by a module, which may learn them.
    """

    grid: Grid
    kernel: Tensor | None
    tensor: Tensor | None
    neutral: float = 1.0
    handed_in: bool = False

    @classmethod
    def read(cls, mask: MaskLike, grid: Grid, heads: int) -> Source:
        """Take the kernel of a module whose ``forward`` is the gather of it; of any other module, the mask.

        Raises:
            ValueError: If the tensor fits neither a kernel nor a mask of the grid, or its heads are not 1 or ``heads``.
        """
        if isinstance(mask, Mask):
            gathers = type(mask).forward is Mask.forward or (isinstance(mask, RetNetMask) and not mask.normalize)
            source = cls(grid, mask.kernel(grid), None) if gathers else cls(grid, None, mask(grid))
        # On a grid of one token both have one entry a head, and a kernel serves every backend.
        elif tuple(mask.shape[1:]) == (grid.length, grid.length) != grid.kernel_shape:
            check_mask(mask, grid)
            source = cls(grid, None, mask, handed_in=not mask.requires_grad)
        else:
            check_kernel(mask, grid)
            source = cls(grid, mask, None, handed_in=not mask.requires_grad)
        check_real(source.values, "mask")
        if source.heads not in (1, heads):
            raise ValueError(
                f"the mask has {source.heads} heads, the queries {heads}: give one mask for each head, or 1"
            )
        return source

    @property
    def values(self) -> Tensor:
        """The kernel if there is one, else the mask: every entry of the mask off the prefix is one of these."""
        return self.kernel if self.kernel is not None else self._tensor

    @property
    def heads(self) -> int:
        """Heads of the mask; 1 serves any number."""
        return self.values.shape[0]

    def dense(self) -> Tensor:
        """The mask ``(heads, length, length)``.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        return self._tensor if self.kernel is None else kernel_to_mask(self.kernel, self.grid, self.neutral)

    def log(self) -> Source:
        """The logarithm of the mask, neutral at 0; an entry of 0 gives −∞, through which no gradient flows.

        Raises:
            ValueError: If an entry is negative; where what is learnt is not to be looked at, it gives NaN instead.
        """
        values = self.values
        rule = "must not be negative: a negative weight has no logarithm (law 10), use multiply_logits"
        if self.handed_in or is_readable(values):
            check(values, "bias_logits: the mask", ~(values < 0), rule)
        hidden = values == 0
        # log(0) would be right, but its gradient, 1/0 · 0, is NaN: such entries leave the graph.
        return self._of(values.masked_fill(hidden, 1.0).log().masked_fill(hidden, -torch.inf), 0.0)

    @property
    def _tensor(self) -> Tensor:
        assert self.tensor is not None
        return self.tensor

    def _of(self, values: Tensor, neutral: float) -> Source:
        kernel, tensor = (values, None) if self.kernel is not None else (None, values)
        return Source(self.grid, kernel, tensor, neutral)


def check_qkv(q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> None:
    """Raise a ``ValueError`` unless queries, keys and values belong together and to the grid."""
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if q.ndim != 4 or q.shape != k.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        raise ValueError(
            f"q, k and v must be (batch, heads, length, d) with equal batch, heads and length, got {shapes}"
        )
    if q.shape[2] != grid.length:
        raise ValueError(
            f"{grid} has {grid.length} tokens, prefix tokens included, the queries have {q.shape[2]}: give the grid of "
            "these tokens, for windows the window's"
        )
    if not (q.is_floating_point() and q.dtype == k.dtype == v.dtype):
        raise ValueError(f"q, k and v must have one floating dtype, got {q.dtype}, {k.dtype}, {v.dtype}")


def check_bias(bias: Tensor, q: Tensor) -> None:
    """Raise a ``ValueError`` unless ``bias`` broadcasts to ``(batch, heads, length, length)``."""
    batch, heads, length, _ = q.shape
    target = (batch, heads, length, length)
    shape = (1,) * (4 - bias.ndim) + tuple(bias.shape)
    if len(shape) != 4 or any(side not in (1, full) for side, full in zip(shape, target, strict=True)):
        raise ValueError(f"bias must broadcast to (batch, heads, length, length) = {target}, got {tuple(bias.shape)}")


def check_dropout(dropout_p: float) -> None:
    """Raise a ``ValueError`` unless ``dropout_p`` is a probability below 1."""
    if not 0 <= dropout_p < 1:
        raise ValueError(f"dropout_p must lie in [0, 1), got {dropout_p}")


def drop(weights: Tensor, dropout_p: float) -> Tensor:
    """Dropout of weights: each is 0 with probability p, else divided by 1 − p."""
    return F.dropout(weights, dropout_p) if dropout_p else weights
