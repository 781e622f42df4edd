"""The checked arguments of a call of attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from retconv.attention.placements import Placement
from retconv.convert.shapes import prefix_remedy
from retconv.cross import Cross
from retconv.grid import Grid
from retconv.kernels.parameters import check_real, require_tensors
from retconv.masks import Forms, MaskLike, between
from retconv.masks.crossed import RectangularLike


@dataclass(frozen=True)
class Call:
    """The checked arguments of a call, which every backend reads.

    Attributes:
        placement: Where the mask acts.
        q: ``(batch, heads, length, d)``.
        k: As q.
        v: ``(batch, heads, length, d_v)``.
        mask: As it was given.
        scale: Of the scores.
        bias: Added to the logits, of four axes that broadcast to theirs, or None.
        dropout_p: Probability with which a weight is dropped.
        crossed: Whether keys lie on another grid than queries, and k and v may have another length.
    """

    placement: Placement
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Forms
    scale: float
    bias: Tensor | None
    dropout_p: float
    crossed: bool = False

    @property
    def acting(self) -> Forms:
        """What acts: the mask, or its logarithm."""
        return self.placement.form(self.mask)

    @property
    def biases(self) -> tuple[Tensor, ...]:
        """What acts on scores: the mask or its logarithm, and the bias."""
        return (self.acting.values,) if self.bias is None else (self.acting.values, self.bias)


def read_mask(mask: MaskLike | RectangularLike, grid: Grid | Cross, heads: int) -> Forms:
    """The forms of a mask for so many heads of queries, on the open grid, which is the one that backends know.

    Raises:
        ValueError: If it does not belong on the grid, or its heads are not 1 or ``heads``.
    """
    crossed = isinstance(grid, Cross)
    forms = between(mask, grid) if crossed else Forms.of(mask, grid).opened()  # type: ignore[arg-type]
    if forms.heads not in (1, heads):
        raise ValueError(f"the mask has {forms.heads} heads, the queries {heads}: give one mask for each head, or 1")
    return forms


def check_qkv(q: Tensor, k: Tensor, v: Tensor, grid: Grid | Cross) -> None:
    """Raise a ``ValueError`` unless queries, keys and values belong together and to the grid."""
    require_tensors(q=q, k=k, v=v)
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if isinstance(grid, Cross):
        if not q.ndim == k.ndim == v.ndim == 4 or not (
            q.shape[:2] == k.shape[:2] == v.shape[:2]
            and q.shape[3] == k.shape[3]
            and (q.shape[2], k.shape[2], v.shape[2]) == (*grid.shape, grid.keys.length)
        ):
            raise ValueError(
                f"of {grid}, q must be (batch, heads, {grid.shape[0]}, d), k and v (batch, heads, {grid.shape[1]}, d) "
                f"with equal batch and heads, got {shapes}"
            )
    elif q.ndim != 4 or q.shape != k.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        raise ValueError(
            f"q, k and v must be (batch, heads, length, d) with equal batch, heads and length, got {shapes}"
        )
    elif q.shape[2] != grid.length:
        raise ValueError(
            f"{grid} has {grid.length} tokens, prefix tokens included, the queries have {q.shape[2]}"
            + _tokens_remedy(q, grid)
        )
    if not q.shape[3]:
        raise ValueError(f"q, k and v must have at least one channel, got {shapes}")
    if not (q.is_floating_point() and q.dtype == k.dtype == v.dtype):
        raise ValueError(f"q, k and v must have one floating dtype, got {q.dtype}, {k.dtype}, {v.dtype}")


def _tokens_remedy(q: Tensor, grid: Grid) -> str:
    """What to do about queries ``(batch, heads, length, d)`` of another number of tokens than a grid's."""
    if q.shape[1] == grid.length:
        return ": axis 1 has them, heads come before tokens, use transpose(1, 2)"
    return prefix_remedy(q.shape[2], grid) or ": give the grid of these tokens, for windows the window's"


def four_axes(bias: Tensor) -> Tensor:
    """A bias of fewer axes than logits ``(batch, heads, queries, keys)`` with those in front that it lacks."""
    return bias.reshape(*(1,) * (4 - bias.ndim), *bias.shape)


def logit_bias(bias: Tensor, q: Tensor, k: Tensor, placement: Placement) -> Tensor:
    """The bias with the axes of logits.

    Raises:
        ValueError: If the placement has no logits, or it is not floating or does not broadcast to them.
    """
    if not placement.softmax:
        raise ValueError(f"{placement.name} has no softmax, so a bias on logits has no meaning: leave it out")
    check_real(bias, "bias")
    if not bias.is_floating_point():
        raise ValueError(
            f"bias is added to logits, got {bias.dtype}: of a mask that is True where a key may be seen, give "
            "torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)"
        )
    batch, heads, length, _ = q.shape
    target = (batch, heads, length, k.shape[2])
    logits = four_axes(bias)
    if logits.ndim != 4 or any(side not in (1, full) for side, full in zip(logits.shape, target, strict=True)):
        raise ValueError(f"bias must broadcast to (batch, heads, length, length) = {target}, got {tuple(bias.shape)}")
    return logits


def check_dropout(dropout_p: float) -> None:
    """Raise a ``ValueError`` unless ``dropout_p`` is a probability below 1."""
    if not 0 <= dropout_p < 1:
        raise ValueError(f"dropout_p must lie in [0, 1), got {dropout_p}")


def drop(weights: Tensor, dropout_p: float) -> Tensor:
    """Dropout of weights: each is 0 with probability p, else divided by 1 − p."""
    return F.dropout(weights, dropout_p) if dropout_p else weights
