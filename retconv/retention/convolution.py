"""Law 14: retention is the mask's convolution of the outer products ``k_j v_jᵀ``, contracted with the query."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from retconv.masks import Forms
from retconv.operators import MaskOperator, operator
from retconv.operators.columns import blocks
from retconv.retention.mirrored import SIGNS, MirroredProduct
from retconv.watching import is_recorded, is_watched

#: Bytes of intermediate results of one block unless told otherwise, on a CPU and on an accelerator.
CPU_BUDGET_BYTES = 3 * 2**24
ACCELERATOR_BUDGET_BYTES = 2**30
#: Intermediate results of a block in units of its outer products: those, and the padded complex transforms.
COPIES = 10


def budget_bytes(device: torch.device) -> int:
    """The budget that is used unless told otherwise."""
    return CPU_BUDGET_BYTES if device.type == "cpu" else ACCELERATOR_BUDGET_BYTES


def convolution(q: Tensor, k: Tensor, v: Tensor, mask: Forms, method: str, budget: int) -> Tensor:
    """``o_n[b] = Σ_a q_n[a] · (M (k[·, a] v[·, b]))_n`` in blocks of feature pairs (a, b).

    Args:
        q: ``(batch, heads, N, d)``, scaled.
        k: ``(batch, heads, N, d)``.
        v: ``(batch, heads, N, e)``.
        mask: The mask.
        method: Of ``retconv.operator``.
        budget: Bytes of intermediate results of one block. A block has at least one feature of k with all of v's.

    Returns:
        ``(batch, heads, N, e)``.
    """
    batch, heads, size, d = k.shape
    per_feature = COPIES * batch * size * v.shape[-1] * v.itemsize
    assert mask.kernel is not None
    of_inputs = q, k, v, mask.kernel
    recorded, watched = is_recorded(*of_inputs), is_watched(*of_inputs)
    rows: dict[int, Tensor] = {}
    block, of = None, None
    for h, a in blocks(heads, d, max(1, budget // per_feature)):
        if block is None or of != h:
            columns = batch * len(range(d)[a]) * v.shape[-1]
            block, of = _applied(operator(mask.part(h), mask.grid, method), k, columns), h
        inputs = q[:, h, :, a], k[:, h, :, a], v[:, h]
        # Recomputed in the backward pass: the outer products of all blocks together take N d e numbers for each head.
        part = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False) if recorded else block(*inputs)
        if h.start not in rows:
            rows[h.start] = part
        else:
            rows[h.start] = rows[h.start] + part if watched else rows[h.start].add_(part)
    return torch.cat(list(rows.values()), dim=1)


def _applied(op: MaskOperator, like: Tensor, columns: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What to do with a block of these heads: on classes of tokens where the Toeplitz product wins and they exist."""
    heads, size, _ = op.shape
    outer = like.new_empty(()).expand(heads, size, columns)
    if op.choose(outer) != "toeplitz" or not MirroredProduct.applies(op.kernel, op.grid):
        return partial(_block, op)
    return partial(_mirrored, [MirroredProduct(kernel[None].to(like.dtype), op.grid) for kernel in op.kernel])


def _block(op: MaskOperator, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Some features of q and k, ``(batch, heads, N, a)``, with all of v."""
    batch, heads, size, a = k.shape
    outer = k.permute(1, 2, 0, 3)[..., None] * v.permute(1, 2, 0, 3)[..., None, :]  # (heads, N, batch, a, e)
    convolved = op(outer.reshape(heads, size, -1)).reshape(heads, size, batch, a, -1)
    return (q.permute(1, 2, 0, 3)[..., None] * convolved).sum(dim=3).permute(2, 0, 1, 3)


def _mirrored(products: list[MirroredProduct], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same where the mask keeps even and odd parts apart, see ``MirroredProduct``.

    A class's part of the outer products, signed sums over an orbit of four tokens, is itself a product of 4 × a and
    4 × e matrices, and contraction with the orbit's four queries is another: no array of N outer products is formed.
    """
    batch, _, size, _ = k.shape
    signs = q.new_tensor(SIGNS)[:, :, None]
    heads = []
    for h, product in enumerate(products):
        # Each orbit and element of the batch; shape: (N / 4 · batch, 4, features).
        orbits = (product.orbits(t[:, h].transpose(0, 1)).transpose(1, 2).flatten(0, 1) for t in (q, k, v))
        q_, k_, v_ = orbits
        out = q.new_zeros(())
        for i, sign in enumerate(signs):
            outer = k_.mT @ (v_ * sign)  # shape: (N / 4 · batch, a, e)
            convolved = product(i, outer.view(size // 4, -1)).view(outer.shape)
            out = out + (q_ * sign) @ convolved
        heads.append(product.tokens(out.unflatten(0, (size // 4, batch)).transpose(1, 2)))
    return torch.stack(heads).permute(2, 0, 1, 3)
