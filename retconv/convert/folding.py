"""The gather and its adjoint: a kernel unfolds to the windows of a mask, a mask folds to sums over equal offsets."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from retconv.grid import kept
from retconv.watching import is_differentiated, is_readable, is_traced, is_transformed

#: From so many entries of a mask on its slabs are copied one by one: one operation on all reads memory in leaps.
SLABS = 2**18
#: Up to so many pairs of tokens an index of them is kept, by which they are selected, or summed.
SELECTED, INDEXED = 2**13, 2**20


class Unfold(Function):
    """``(…, 2 n_1 − 1, …) → (…, n_1, …, n_D, n_1, …, n_D)``: entry ``[q, k]`` is the kernel at offset k − q."""

    generate_vmap_rule = True

    @staticmethod
    def forward(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Read, for query q, the window of the kernel that starts at ``n − 1 − q`` (law 2)."""
        if len(shape) > 1 and is_readable(kernel):
            return _selected(kernel, shape) if math.prod(shape) ** 2 <= SELECTED else _by_slabs(kernel, shape)
        return _windows(kernel, shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        """Keep the grid's shape for backward."""
        ctx.shape = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The adjoint of the gather sums over pairs of equal offset."""
        return fold(grad, ctx.shape), None


class Fold(Function):
    """``(…, n_1, …, n_D, n_1, …, n_D) → (…, 2 n_1 − 1, …)``: the sum over all pairs with each offset k − q.

    Half types are summed in float32 and rounded once: a running sum of ones in bfloat16 stays at 256.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Add one axis's windows at a time, so that nothing larger than the mask is ever formed."""
        ndim = len(shape)
        lead = mask.ndim - 2 * ndim
        dtype, wide = mask.dtype, torch.promote_types(mask.dtype, torch.float32)
        if shape and is_readable(mask) and math.prod(shape) ** 2 <= INDEXED:
            return _summed(mask.to(wide), shape).to(dtype)
        for axis in reversed(range(ndim)):
            n = shape[axis]
            # Axes now: lead, q_1 … q_axis, k_1 … k_axis, folded axes.
            key = lead + 2 * axis + 1
            size = list(mask.shape)
            size[key] = 2 * n - 1
            del size[lead + axis]
            folded = mask.new_zeros(size, dtype=wide)
            for q, row in enumerate(mask.unbind(lead + axis)):
                folded.narrow(key - 1, n - 1 - q, n).add_(row)
            mask = folded
        return mask.to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        """Keep the grid's shape for backward."""
        ctx.shape = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The adjoint of summing over pairs is the gather."""
        return unfold(grad, ctx.shape), None


class UnfoldForwards(Unfold):
    """``Unfold`` with the derivative in forward mode that Hessians need; ``torch.compile`` takes no such function."""

    # The generated rule breaks under forward mode, and this one when compiled.
    generate_vmap_rule = False

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        """It is linear."""
        return unfold(tangent, ctx.shape)

    @staticmethod
    def vmap(info: Any, dims: tuple[int, Any], kernel: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, int]:
        """One more leading axis."""
        return unfold(kernel.movedim(dims[0], 0), shape), 0


class FoldForwards(Fold):
    """``Fold`` with its derivative in forward mode."""

    generate_vmap_rule = False

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        """It is linear."""
        return fold(tangent, ctx.shape)

    @staticmethod
    def vmap(info: Any, dims: tuple[int, Any], mask: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, int]:
        """One more leading axis."""
        return fold(mask.movedim(dims[0], 0), shape), 0


def _windows(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The gather by a strided view and a copy of it."""
    lead = kernel.ndim - len(shape)
    view = kernel
    for axis, n in enumerate(shape):
        # unfold replaces the axis by the window's start and appends the window: (…, s_1 … s_D, k_1 … k_D).
        view = view.unfold(lead + axis, n, 1)
    return view.flip(tuple(range(lead, kernel.ndim)))


def _by_slabs(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The gather, of each query of the first axis a slab, of windows over the others that are gathered before.

    On several axes ``_windows`` would copy the mask twice: ``flip`` leaves axes in the order of the view's strides.
    """
    n, *others = shape
    lead, last = kernel.ndim - len(shape), kernel.ndim - 1
    # shape: (…, q_2 … q_D, 2 n_1 − 1, k_2 … k_D), so that a query's keys are one run of memory
    windows = Unfold.forward(kernel, tuple(others)).movedim(lead, last).contiguous()
    slabs = windows.unfold(last, n, 1).movedim((last, -1), (lead, last + 1))  # the first axis: where a window starts
    if slabs.numel() < SLABS:
        return slabs.index_select(lead, _backwards(n))
    mask = kernel.new_empty(slabs.shape)
    for q, slab in enumerate(mask.unbind(lead)):
        slab.copy_(slabs.select(lead, n - 1 - q))
    return mask


@kept
def _backwards(n: int) -> Tensor:
    return torch.arange(n - 1, -1, -1)


def _selected(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The gather as one operation of torch, with torch's own derivatives."""
    lead, sides = kernel.shape[: kernel.ndim - len(shape)], [2 * n - 1 for n in shape]
    entries = kernel.reshape(math.prod(lead), math.prod(sides)).index_select(1, _entries(shape))
    return entries.view(*lead, *shape, *shape)


def _summed(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The sums as one operation of torch, with torch's own derivatives."""
    lead, sides = mask.shape[: mask.ndim - 2 * len(shape)], [2 * n - 1 for n in shape]
    zeros = mask.new_zeros(math.prod(lead), math.prod(sides))
    pairs = mask.reshape(len(zeros), math.prod(shape) ** 2)
    return zeros.index_add(1, _entries(shape), pairs).view(*lead, *sides)


@kept
def _entries(shape: tuple[int, ...]) -> Tensor:
    """The kernel's entry that each pair of tokens reads, in one row."""
    sides = [2 * n - 1 for n in shape]
    return _windows(torch.arange(math.prod(sides)).view(sides), shape).flatten()


def _is_few(x: Tensor, shape: tuple[int, ...], pairs: int) -> bool:
    """Whether one operation with a kept index does: a Function costs more, but torch's sums of half types stay half."""
    return bool(shape) and x.is_cpu and x.itemsize >= 4 and math.prod(shape) ** 2 <= pairs


def unfold(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Gather a kernel ``(…, 2n − 1)`` into ``(…, n, n)`` (queries, then keys), without any check.

    Example:
        >>> unfold(torch.tensor([1.0, 2.0, 3.0]), (2,)).tolist()
        [[2.0, 3.0], [1.0, 2.0]]
    """
    watched = is_differentiated(kernel)
    if is_traced():
        return Unfold.apply(kernel, shape) if watched else Unfold.forward(kernel, shape)
    if not (watched or is_transformed(kernel)):
        # Where no gradient is wanted the plain operations do, without the bookkeeping of a Function.
        return Unfold.forward(kernel, shape)
    few = _is_few(kernel, shape, SELECTED)
    return _selected(kernel, shape) if few else UnfoldForwards.apply(kernel, shape)


def fold(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum a mask ``(…, n, n)`` over pairs of equal offset into ``(…, 2n − 1)``, without any check.

    Example:
        >>> fold(torch.ones(2, 2), (2,)).tolist()  # pairs of offset −1, 0, 1
        [1.0, 2.0, 1.0]
    """
    if is_traced():
        return Fold.apply(mask, shape)
    if _is_few(mask, shape, INDEXED):
        return _summed(mask, shape)
    return FoldForwards.apply(mask, shape)
