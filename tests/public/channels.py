"""Cases of extra channels of queries and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from retconv import attention
from retconv.attention import attend
from retconv.grid import Grid
from tests.public.case import HEADS, SHAPE, SIZE, Case, normal, of, positive, qkv, retnet


def cases() -> Iterator[tuple[str, Case]]:
    """Of each log-mask, its numbers; and attention by them."""
    line, board, center = Grid(SIZE, prefix=1), Grid(SHAPE, prefix=1), normal(21, HEADS, 2)
    shift, spread, scale = normal(22, HEADS, SIZE, 2), positive(23, HEADS, SIZE, 2, 2), positive(24, HEADS)
    gates, gamma = -positive(25, HEADS, SIZE) / 8, positive(26, HEADS) / 3
    rows: dict[str, tuple[Callable[..., attention.ExtraChannels], tuple[Tensor, ...]]] = {
        "gaussian_channels": (lambda s, a: attention.gaussian_channels(s, board, a), (scale, 2 * scale)),
        "gpsa_channels": (lambda a, c: attention.gpsa_channels(a, board, c), (scale, center)),
        "shifted_gaussian_channels": (lambda m, a: attention.shifted_gaussian_channels(m, a, board), (shift, spread)),
        "alibi_channels": (lambda m: attention.alibi_channels(m, line), (scale,)),
        "decay_channels": (lambda g: attention.decay_channels(g, line), (gamma,)),
        "forget_channels": (lambda g: attention.forget_channels(g, line), (gates,)),
        "cosine_channels": (
            lambda a, w: attention.cosine_channels(a, w, board),
            (normal(27, HEADS, 3), normal(28, 3, 2)),
        ),
    }
    for name, (run, given) in rows.items():
        yield name, Case(of(lambda *x, run: torch.cat(run(*x)), run=run), given, roundings=4)
    run = of(lambda m, q, k, v: attend(q, k, v, m, line, placement="bias_logits", backend="channels"))
    yield "bias_logits by channels of a decay", Case(run, (retnet(), *qkv(line.length)), roundings=16)
    yield "extended_attention", Case(_extended, (gates / 4, *qkv(SIZE)), roundings=16)


def _extended(gates: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention.extended_attention(q, k, v, attention.forget_channels(gates), SIZE, causal=True)
