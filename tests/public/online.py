"""Cases of what runs token by token with any kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.operators import OnlineConvolution
from retconv.retention import (
    FlashDecoder,
)
from tests.public.case import HEADS, SIZE, Case, kernel, normal, qkv


def cases() -> Iterator[tuple[str, Case]]:
    table = kernel((SIZE,)) * (Grid(SIZE).offsets()[:, 0] <= 0)
    yield "decoder of a kernel", Case(_flash, (table, *qkv()), roundings=2)
    yield "operator online of kernel", Case(_token_by_token, (table, normal(7, HEADS, SIZE, 3)), roundings=4)


def _flash(table: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with torch.no_grad():
        decoder = FlashDecoder(table, SIZE)
        return torch.cat([decoder.step(*(t[:, :, at] for t in (q, k, v))) for at in (slice(7), slice(7, None))], dim=2)


def _token_by_token(table: Tensor, x: Tensor) -> Tensor:
    with torch.no_grad():
        online = OnlineConvolution(table, SIZE)
        return torch.cat([online.step(part) for part in x.split(1, dim=1)], dim=1)
