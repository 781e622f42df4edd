"""Cases of the field's static masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from retconv import kernels
from retconv.grid import Grid
from tests.public.case import HEADS, SHAPE, SIZE, Case, normal, of, positive


def cases() -> Iterator[tuple[str, Case]]:
    rate, row = positive(20, HEADS) / 3, positive(21, HEADS) / 30
    line, plane, on = Grid(SIZE), Grid(SHAPE), partial(of, on_offsets)
    table, planes, hidden, out = normal(22, 8, HEADS), normal(23, HEADS, 1, 2), normal(24, 5, 2), normal(25, HEADS, 5)
    yield "xpos", Case(on(f=kernels.xpos, grid=line), (rate, row))
    yield "sandwich", Case(on(f=kernels.sandwich, grid=line), (positive(26, HEADS),), roundings=2)
    yield "cosformer", Case(on(f=kernels.cosformer, grid=line), (40 * rate,))
    yield "rotary", Case(on(f=kernels.rotary, grid=plane), (normal(27, HEADS, 3, 2) / 8,), roundings=2)
    yield "euclidean_alibi", Case(on(f=kernels.euclidean_alibi, grid=plane), (rate,))
    yield "gaussian_bias", Case(on(f=kernels.gaussian_bias, grid=plane), (rate, positive(35, HEADS)))
    yield "field_of_view", Case(_field_of_view, (rate, planes))
    yield "t5", Case(on(f=partial(kernels.t5, reach=12), grid=line), (table,))
    yield "swin_v2", Case(on(f=partial(kernels.swin_v2, window=SHAPE), grid=plane), (hidden, normal(28, 5), out))
    yield (
        "beit_table",
        Case(lambda t: torch.cat([x.flatten() for x in kernels.beit_table(t, SHAPE)]), (normal(29, 48, 2),)),
    )
    yield "fire", Case(lambda *p: kernels.fire(SIZE, *p), (*rate[:1] / 4, *40 * rate[1:], *_perceptron()), roundings=2)


def _perceptron() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return normal(31, 5), normal(32, 5), normal(33, HEADS, 5), normal(34, HEADS)


def _field_of_view(slope: Tensor, planes: Tensor) -> Tensor:
    """What multiplies: of a bias of −∞ there is no difference to take."""
    return kernels.field_of_view(Grid(SHAPE).offsets(slope.device), slope, planes).exp()


def on_offsets(*parameters: Tensor, f: Callable[..., Tensor], grid: Grid) -> Tensor:
    return f(grid.offsets(parameters[0].device), *parameters)
