"""Cases of attention between two grids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from retconv.attention import PLACEMENTS, attend
from retconv.cross import Cross
from retconv.masks import BiasMask, between, between_log
from retconv.masks.biases import Bias
from tests.public.case import HEADS, Case, decay, gaussians, normal, of, positive

CROSS = Cross((4, 6), (2, 3))


def cases() -> Iterator[tuple[str, Case]]:
    queries, keys = CROSS.shape
    given = normal(1, 2, HEADS, queries, 4), normal(2, 2, HEADS, keys, 4), normal(3, 2, HEADS, keys, 4)
    for placement in PLACEMENTS:
        run = of(lambda m, q, k, v, placement: attend(q, k, v, m, CROSS, placement=placement), placement)
        yield f"{placement} between grids", Case(run, (gaussians(), *given), roundings=16)
    sdpa = of(lambda m, q, k, v: attend(q, k, v, m, CROSS, placement="bias_logits", backend="sdpa"))
    yield "bias_logits between grids by sdpa", Case(sdpa, (decay(), *given), roundings=16)
    run = of(lambda m, q, k, v: attend(q, k, v, m, CROSS, placement="retention"))
    yield "retention between grids of entries", Case(run, (positive(4, 2, HEADS, queries, keys), *given), roundings=16)
    table = (normal(5, HEADS, *CROSS.table_shape),)
    yield "between", Case(lambda t: between(t, CROSS).entries, table)
    yield "between_log", Case(_log, table)
    for bias in get_args(Bias):
        mask = (BiasMask(HEADS, bias, generator=torch.Generator().manual_seed(6)).double(),)
        yield f"between of {bias}", Case(lambda m: between(m, CROSS).entries, mask, roundings=8)
        yield f"log between of {bias}", Case(lambda m: between(m, CROSS).log.entries, mask, roundings=8)


def _log(table: Tensor) -> Tensor:
    return between_log(table, CROSS).log.entries
