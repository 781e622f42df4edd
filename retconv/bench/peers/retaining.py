"""Retention whole and token by token, against the formula, public implementations, and raw steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from retconv.bench.peers.conversions import powers
from retconv.bench.peers.public import DIVIDES, next_token, peers
from retconv.bench.peers.rows import Row
from retconv.grid import Grid
from retconv.masks import DecayMask, RetNetMask
from retconv.retention import Decoder, recurrent, retention

HEADS, DIM = 3, 64
#: Tokens and batch on a line.
LINES = ((64, 1), (1024, 1), (4096, 1))
#: Side and batch on a square.
SQUARES = ((8, 64), (14, 64), (32, 4))


def rows() -> Iterator[Row]:
    """Every row of this part."""
    for size, batch in LINES:
        yield _line(size, batch)
    for side, batch in SQUARES:
        yield _square(Grid((side, side)), batch)
    for batch in (1, 64):
        yield from _decode(batch)


def _line(size: int, batch: int) -> Row:
    q, k, v = torch.randn(3, batch, HEADS, size, DIM)
    mask, grid = RetNetMask(HEADS, "retnet_linspace"), Grid(size)
    distance = torch.arange(size)[:, None] - torch.arange(size)

    def formula() -> Tensor:
        dense = (mask.gamma[:, None, None].float() ** distance.clamp(min=0)).tril()
        return ((q * DIM**-0.5) @ k.mT * dense) @ v

    public = peers(q, k, v, mask.gamma)
    floors = {name: public.pop(name) for name in [*public] if name.startswith(DIVIDES)}
    return Row(
        f"causal retention, {size} tokens, batch {batch}",
        partial(retention, q, k, v, mask, grid),
        {"the formula": formula, **public},
        floors,
    )


def _square(grid: Grid, batch: int) -> Row:
    q, k, v = torch.randn(3, batch, HEADS, grid.size, DIM)
    mask = DecayMask(HEADS)

    def formula() -> Tensor:
        return ((q * DIM**-0.5) @ k.mT * powers(mask, grid)) @ v

    return Row(
        f"Manhattan retention, {grid.size} tokens, batch {batch}",
        partial(retention, q, k, v, mask, grid),
        {"the formula": formula},
    )


def _decode(batch: int) -> Iterator[Row]:
    """One token from a state: in place, where ours and the user's write into the state they keep, and as a function."""
    q, k, v = torch.randn(3, batch, HEADS, 1, DIM)
    mask = RetNetMask(HEADS, "retnet_linspace")
    with torch.no_grad():
        _, state = recurrent(q, k, v, mask)
    gamma = mask.gamma.float()[:, None, None]

    own, decoder = state.memory[:, :, 0].clone(), Decoder(mask, state)

    def in_place() -> Tensor:
        own.mul_(gamma).add_(k.mT @ v)
        return (q * DIM**-0.5) @ own

    yield Row(f"one token in place, batch {batch}", partial(decoder.step, q, k, v), {"raw torch in place": in_place})
    memory = state.memory[:, :, 0]

    def raw() -> Tensor:
        return (q * DIM**-0.5) @ (memory * gamma + k.mT @ v)

    yield Row(
        f"one token from a state, batch {batch}",
        lambda: recurrent(q, k, v, mask, state)[0],
        {"raw torch": raw, **next_token(q, k, v, memory)},
    )
