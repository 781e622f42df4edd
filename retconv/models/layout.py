"""Where the heads are among the axes of queries and scores: attention code puts them in three ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

#: How models call their number of heads, on the module or in its configuration.
HEADS = ("num_heads", "num_attention_heads", "n_heads", "heads", "n_head")


@dataclass(frozen=True)
class Layout:
    """How an attention lays out ``(…, tokens, channels)`` and ``(…, tokens, tokens)``.

    Attributes:
        heads: Number of heads.
        axis: The axis of heads, counted from the end: −3 as in ``(batch, heads, tokens, channels)``, −4 where windows
            are between heads and tokens; None if heads are folded into the first axis, images first.
    """

    heads: int
    axis: int | None = -3

    def has_heads(self, shape: tuple[int, ...]) -> bool:
        """Whether these are the axes of something that each head has, as its scores."""
        if self.axis is None:
            return len(shape) == 3 and shape[0] % self.heads == 0
        return len(shape) > max(3, -self.axis) and shape[self.axis] == self.heads

    def fold(self, x: Tensor) -> Tensor:
        """To ``(batch, heads, rows, columns)``: windows become elements of the batch."""
        if self.axis is None:
            return x.unflatten(0, (-1, self.heads))
        return x if x.ndim == 4 and self.axis == -3 else x.movedim(self.axis, -3).flatten(0, -4)

    def unfold(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Back from ``(batch, heads, rows, columns)`` to the axes before the last two that ``shape`` has."""
        if self.axis is None:
            return x.flatten(0, 1)
        if len(shape) == 4 and self.axis == -3:
            return x
        lead = [side for i, side in enumerate(shape[:-2], -len(shape)) if i != self.axis]
        return x.unflatten(0, lead).movedim(-3, self.axis)


def declared_heads(module: nn.Module) -> int | None:
    """The number of heads that a module, or its configuration, names."""
    owners: list[Any] = [module, getattr(module, "config", None)]
    counts = (getattr(owner, name, None) for owner in owners for name in HEADS)
    return next((count for count in counts if isinstance(count, int)), None)


def axes_of_heads(shape: tuple[int, ...], heads: int | None) -> list[int | None]:
    """Every axis that may be the heads' in ``(…, tokens, channels)``: one where it is certain, none where unknown.

    Two axes before the tokens are batch and heads, as torch's attention function has them.
    """
    if len(shape) == 4:
        return [-3]
    if len(shape) == 3:
        return [None] if shape[0] % (heads or 1) == 0 else []
    lead = range(-len(shape) + 1, -2)
    return [axis for axis in lead if shape[axis] == heads] if heads else [-3]
