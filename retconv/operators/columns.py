"""Work on columns in blocks that stay in cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from retconv.watching import is_mapped, unwatched

#: Bytes of intermediate results that one block may take: a core's second-level cache on a CPU, plenty elsewhere.
CPU_BLOCK_BYTES = 2**20
ACCELERATOR_BLOCK_BYTES = 2**28


def block_bytes(device: torch.device) -> int:
    """How many bytes of intermediate results one block may take on a device."""
    return CPU_BLOCK_BYTES if device.type == "cpu" else ACCELERATOR_BLOCK_BYTES


def blocks(heads: int, columns: int, per_block: int) -> Iterator[tuple[slice, slice]]:
    """Cut ``heads × columns`` into blocks of about ``per_block`` columns: whole heads where they are narrow."""
    if columns >= per_block:
        for head in range(heads):
            for start in range(0, columns, per_block):
                yield slice(head, head + 1), slice(start, min(start + per_block, columns))
    else:
        step = max(1, per_block // columns)
        for head in range(0, heads, step):
            yield slice(head, min(head + step, heads)), slice(0, columns)


def map_blocks(apply: Callable[[Tensor, slice], Tensor], x: Tensor, per_block: int, watched: bool) -> Tensor:
    """Apply a function to ``x`` ``(heads, N, columns)`` block by block.

    Args:
        apply: Takes a block of ``x`` and its slice of heads, returns a block of the same shape.
        x: The input.
        per_block: About how many columns a block has.
        watched: Whether the result must not be written in place (see ``retconv.watching``): it is then concatenated.
    """
    heads, _, columns = x.shape
    parts = list(blocks(heads, columns, per_block))
    if len(parts) == 1:
        return apply(x, slice(0, heads))
    if not watched:
        out = torch.empty_like(x)
        for h, c in parts:
            out[h, :, c] = apply(x[h, :, c], h)
        return out
    rows: dict[int, list[Tensor]] = {}
    for h, c in parts:
        rows.setdefault(h.start, []).append(apply(x[h, :, c], h))
    return torch.cat([torch.cat(row, dim=2) for row in rows.values()], dim=0)


class Scratch:
    """Memory kept from call to call on a CPU: fresh pages would cost as much time as the products.

    Several threads may share one: a call owns what it has taken until it gives it back.
    """

    def __init__(self) -> None:
        # Its pop and append are atomic, so no lock is needed.
        self._free: list[Tensor] = []

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """Memory of a shape, in the dtype and on the device of a tensor, with any values."""
        try:
            space = self._free.pop()
        except IndexError:
            space = None
        if space is None or (space.shape, space.dtype, space.device) != (shape, like.dtype, like.device):
            with unwatched():
                space = like.new_empty(shape)
        return space

    def give(self, space: Tensor) -> None:
        """Give memory back. On an accelerator it may still be in use by then, and torch keeps what is free itself."""
        if space.device.type == "cpu":
            self._free.append(space)


def add_product(out: Tensor, a: Tensor, b: Tensor, alpha: float = 1) -> Tensor:
    """``out + alpha · a b``, in the memory of ``out`` unless ``torch.vmap``, which has no rule for it, maps it."""
    if is_mapped(out, a, b):
        return torch.baddbmm(out, a, b, alpha=alpha)
    return out.baddbmm_(a, b, alpha=alpha)


def left(matrix: Tensor, x: Tensor) -> Tensor:
    """Batched ``matrix[h] @ x[h, b]``: ``(heads, s, t)`` and ``(heads, batch, t, columns)``.

    ``torch.matmul`` would copy the matrix for each element of the batch.
    """
    heads, batch = x.shape[:2]
    if batch == heads == 1:
        return torch.mm(matrix[0], x[0, 0])[None, None]
    if batch == 1:
        return torch.bmm(matrix, x[:, 0])[:, None]
    if heads == 1:
        return torch.bmm(matrix.expand(batch, -1, -1), x[0])[None]
    return torch.matmul(matrix[:, None], x)
