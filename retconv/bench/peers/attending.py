"""Masks in attention, against the formula with a mask of the user's own making, and torch's fused attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import click
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from retconv.attention import attend
from retconv.bench.peers.conversions import exponentials, powers, squared_distances
from retconv.bench.peers.rows import Row, Run
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, KernelTableMask, Mask

#: Side of the grid, batch.
SIZES = ((8, 64), (14, 16), (32, 1))
HEADS, DIM = 3, 64
#: Narrow heads, which compiled loops take in inference: side, batch, heads, channels.
NARROW = ((8, 64, 12, 16), (14, 16, 12, 16))


def rows() -> Iterator[Row]:
    """Every row of this part."""
    for dtype in (torch.float32, torch.bfloat16):
        for side, batch in SIZES:
            for name, (mask, dense) in _masks(Grid((side, side))).items():
                for backward in (False, True):
                    if dtype == torch.float32 or name == "kernel table":
                        yield _multiplied(name, mask, dense, Grid((side, side)), batch, dtype, backward)
            for backward in (False, True):
                yield _added(Grid((side, side)), batch, dtype, backward)
    for side, batch, heads, dim in NARROW:
        grid = Grid((side, side))
        name, of = "kernel table", _masks(grid, heads)["kernel table"]
        yield _multiplied(name, *of, grid, batch, torch.float32, backward=False, dim=dim)
        yield _added(grid, batch, torch.float32, backward=False, heads=heads, dim=dim)


def _masks(grid: Grid, heads: int = HEADS) -> dict[str, tuple[Mask, Callable[[], Tensor]]]:
    """Masks, and how a user makes each."""
    index, squared = grid.offset_index(), squared_distances(grid)
    gaussian = GaussianMixtureMask(heads, generator=torch.Generator().manual_seed(0))
    decay, table = DecayMask(heads, learnable=True), KernelTableMask(grid, heads)
    weight = next(table.parameters())
    return {
        "Gaussian mixture": (gaussian, partial(exponentials, gaussian, squared)),
        "learnt Manhattan": (decay, partial(powers, decay, grid)),
        "kernel table": (table, lambda: weight.flatten(1)[:, index]),
    }


def _inputs(grid: Grid, batch: int, heads: int, dim: int, dtype: torch.dtype, backward: bool) -> tuple[Tensor, ...]:
    shape = (4, batch, heads, grid.length, dim)
    q, k, v, upstream = torch.randn(shape).to(dtype).unbind()
    return *(x.clone().requires_grad_(backward) for x in (q, k, v)), upstream


def _step(run: Callable[[], Tensor], leaves: list[Tensor], upstream: Tensor, backward: bool) -> object:
    out = run()
    return (out, *torch.autograd.grad(out, leaves, upstream)) if backward else out


def _text(q: Tensor, backward: bool) -> str:
    batch, heads, tokens, dim = q.shape
    passes = "forward + backward" if backward else "forward"
    of = "" if (heads, dim) == (HEADS, DIM) else f", {heads} heads of {dim}"
    return f"{tokens} tokens, batch {batch}{of}, {str(q.dtype).removeprefix('torch.')}, {passes}"


def _multiplied(
    name: str,
    mask: Mask,
    dense: Callable[[], Tensor],
    grid: Grid,
    batch: int,
    dtype: torch.dtype,
    backward: bool,
    dim: int = DIM,
) -> Row:
    q, k, v, upstream = _inputs(grid, batch, mask.heads, dim, dtype, backward)

    def formula() -> Tensor:
        scores = (q * dim**-0.5) @ k.mT
        return (scores * dense().to(dtype)).softmax(-1) @ v

    others: dict[str, Run] = {}
    if isinstance(mask, KernelTableMask) and not backward:
        others = _flex(partial(flexible, q, k, v, mask.weight.detach(), grid, "multiply_logits"))
    step = partial(_step, leaves=[q, k, v, *mask.parameters()], upstream=upstream, backward=backward)
    return Row(
        f"{name} multiplied, {_text(q, backward)}",
        lambda: step(partial(attend, q, k, v, mask, grid, placement="multiply_logits")),
        {"the formula": lambda: step(formula), **others},
        {"fused attention without a mask": lambda: _unmasked(q, k, v, upstream, backward)},
        gradients=backward,
    )


def _flex(run: Callable[[], Tensor]) -> dict[str, Run]:
    """FlexAttention, which looks a kernel up by offset, compiled; on a CPU it has no backward pass.

    Torch limits how often a function is compiled, so each row forgets what was compiled for those before it.
    """
    torch.compiler.reset()
    try:
        with torch.no_grad():
            run()
    except RuntimeError as error:
        click.echo(f"FlexAttention does not compile, so it is not raced: {error}".partition("\n")[0], err=True)
        return {}
    return {"FlexAttention": run}


def _unmasked(q: Tensor, k: Tensor, v: Tensor, upstream: Tensor, backward: bool) -> object:
    return _step(partial(F.scaled_dot_product_attention, q, k, v), [q, k, v], upstream, backward)


def _added(grid: Grid, batch: int, dtype: torch.dtype, backward: bool, heads: int = HEADS, dim: int = DIM) -> Row:
    """The logarithm of a learnt decay as a bias; the user adds distance times a learnt slope."""
    q, k, v, upstream = _inputs(grid, batch, heads, dim, dtype, backward)
    mask = DecayMask(heads, learnable=True)
    position = grid.coordinates().float()
    distance = torch.cdist(position, position, p=1)

    def bias() -> Tensor:
        return (distance * mask.gamma.log()[:, None, None]).to(dtype)

    def fused() -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias()[None])

    def formula() -> Tensor:
        return ((q * dim**-0.5) @ k.mT + bias()).softmax(-1) @ v

    flex = {} if backward else _flex(lambda: flexible(q, k, v, mask.kernel(grid), grid, "bias_logits"))
    step = partial(_step, leaves=[q, k, v, *mask.parameters()], upstream=upstream, backward=backward)
    return Row(
        f"logarithm of a learnt Manhattan added, {_text(q, backward)}",
        lambda: step(partial(attend, q, k, v, mask, grid, placement="bias_logits")),
        {"fused attention with a bias": lambda: step(fused), "the formula": lambda: step(formula), **flex},
        {"fused attention without a mask": lambda: _unmasked(q, k, v, upstream, backward)},
        gradients=backward,
    )


_COMPILED = torch.compile(flex_attention, dynamic=False)


def flexible(q: Tensor, k: Tensor, v: Tensor, table: Tensor, grid: Grid, placement: str) -> Tensor:
    """FlexAttention as a user writes it, which looks the kernel up by offset."""
    rows, columns = grid.shape
    flat = (table.log() if placement == "bias_logits" else table).flatten(1).contiguous()
    across = 2 * columns - 1

    def entry(head: Tensor, at: Tensor, to: Tensor) -> Tensor:
        down = to // columns - at // columns + rows - 1
        return flat[head, down * across + to % columns - at % columns + columns - 1]

    def multiply(score: Tensor, batch: Tensor, head: Tensor, at: Tensor, to: Tensor) -> Tensor:
        return score * entry(head, at, to)

    def add(score: Tensor, batch: Tensor, head: Tensor, at: Tensor, to: Tensor) -> Tensor:
        return score + entry(head, at, to)

    out: Tensor = _COMPILED(q, k, v, score_mod=add if placement == "bias_logits" else multiply)
    return out
