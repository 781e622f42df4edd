"""What the forms of retention ask of their inputs, and what they make of them first."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.convert.shapes import REGISTERS
from retconv.grid import Grid
from retconv.kernels import Exponentials, Gates
from retconv.kernels.parameters import require_tensors
from retconv.masks import Forms, MaskLike
from retconv.precision import entering


def computed(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs in the computing dtype."""
    return (q.float(), k.float(), v.float()) if q.dtype.itemsize < 4 else (q, k, v)


def default_scale(q: Tensor, scale: float | None) -> float:
    """The scale of the scores, ``1 / √d`` unless it is given."""
    return float(q.shape[-1] ** -0.5 if scale is None else scale)


def checked(q: Tensor, k: Tensor, v: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs as autocast has them, which belong together."""
    require_tensors(q=q, k=k, v=v)
    q, k, v = entering(q), entering(k), entering(v)
    shapes = f"got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
    if q.ndim != 4 or k.shape != q.shape or v.shape[:-1] != q.shape[:-1] or 0 in (*q.shape, *v.shape):
        raise ValueError(f"q and k must be (batch, heads, N, d) and v (batch, heads, N, e), none empty, {shapes}")
    if not q.is_floating_point() or not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q, k and v must have one floating dtype, got {q.dtype}, {k.dtype} and {v.dtype}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be a positive number of tokens, got {chunk}")
    return q, k, v


def check_tokens(q: Tensor, grid: Grid) -> None:
    """That q has the tokens of a grid, and that has no prefix."""
    if grid.prefix:
        raise ValueError(
            f"retention: prefix tokens take part in no convolution, got {grid}: use grid.without_prefix() and leave "
            f"the first {grid.prefix} token(s) out"
        )
    extra = q.shape[2] - grid.size
    if not extra:
        return
    remedy = "give the grid of these tokens"
    if q.shape[1] == grid.size:
        remedy = "axis 1 has them, heads come before tokens, use transpose(1, 2)"
    elif 0 < extra <= REGISTERS:
        remedy = f"a class token or registers take part in no convolution, leave the first {extra} out"
    raise ValueError(f"q, k and v must hold the {grid.size} tokens of {grid}, got {q.shape[2]}: {remedy}")


def check_heads(heads: int, q: Tensor) -> None:
    """That a mask of so many heads is one for q."""
    if heads not in (1, q.shape[1]):
        raise ValueError(f"the mask has {heads} heads, q has {q.shape[1]} in shape {tuple(q.shape)}")


def causal_line(mask: MaskLike, size: int) -> Exponentials:
    """A mask on a line of so many tokens as the causal sum of exponentials that a recurrence with a state runs."""
    line = Forms.of(mask, Grid(size)).exponentials
    if line is None:
        remedies = (
            "RetNetMask, kernels.Exponentials, retconv.approximate.exponentials(kernel, …) with its certificate, or "
        )
        remedies += "for any causal kernel, exactly, FlashDecoder"
        if getattr(mask, "normalize", False):
            remedies = "it with normalize=False"
        raise ValueError(
            f"{type(mask).__name__} is not known to be a sum of exponentials, which a recurrence needs: use {remedies}"
        )
    if not line.causal:
        raise ValueError("a recurrence with a state needs a causal mask, got a two-sided one: use retention(…)")
    return line


def causal_gates(mask: MaskLike, size: int) -> Gates | None:
    """The gates of a mask on a line of so many tokens that a recurrence with a state runs, None if it has none."""
    gates = Forms.of(mask, Grid(size)).gates
    if gates is not None and not gates.causal:
        raise ValueError("a recurrence with a state needs causal gates, got two-sided ones: use retention(…)")
    return gates


def memory_of(line: Exponentials | Gates, q: Tensor, v: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    """Shape and dtype of what a recurrence remembers of such inputs."""
    real = torch.float64 if q.dtype == torch.float64 else torch.float32
    if isinstance(line, Gates):
        return (*q.shape[:2], 1, q.shape[3], v.shape[3]), real
    kind = torch.promote_types(real, torch.complex64) if line.past_poles.is_complex() else real
    return (*q.shape[:2], line.order, q.shape[3], v.shape[3]), kind


def check_memory(memory: Tensor, line: Exponentials | Gates, q: Tensor, v: Tensor) -> None:
    """That a state is one of such inputs."""
    expected, kind = memory_of(line, q, v)
    if tuple(memory.shape) != expected or memory.dtype != kind:
        raise ValueError(
            f"state must be of memory {expected} in {kind} for these inputs, got {tuple(memory.shape)} in "
            f"{memory.dtype}"
        )
