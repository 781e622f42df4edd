"""Cases of masks on periodic grids."""

from __future__ import annotations

from collections.abc import Iterator

from retconv import convert, kernels
from retconv.attention import attend
from retconv.cross import Cross
from retconv.grid import Grid
from retconv.operators import operator
from retconv.retention import retention
from tests.public.case import HEADS, SHAPE, SIZE, Case, gaussians, kernel, normal, of, positive, qkv


def cases() -> Iterator[tuple[str, Case]]:
    ring = Grid(SHAPE, periodic=(True, False))
    table, scale, rate = normal(17, HEADS, *ring.kernel_shape), positive(10, HEADS), positive(11, HEADS) / 3
    yield "unroll on a ring", Case(lambda k: convert.unroll(k, ring), (table,))
    yield "wrap on a ring", Case(lambda k: convert.wrap(k, ring), (kernel(),), roundings=2)
    yield "kernel_to_mask on a ring", Case(lambda k: convert.kernel_to_mask(k, ring), (table,))
    free = normal(15, HEADS, SIZE, SIZE)
    yield "project on a ring", Case(lambda m: convert.project(m, ring).kernel, (free,))
    yield "wrapped_decay", Case(lambda g: kernels.wrapped_decay(ring, g), (rate,))
    yield "wrapped_gaussian", Case(lambda s: kernels.wrapped_gaussian(ring, s), (scale[:, None],))
    for method in ("dense", "fft"):
        run = of(lambda k, x, method: operator(k, ring, method) @ x, method)
        yield f"operator {method} on a ring", Case(run, (table, normal(7, 3, HEADS, SIZE, 2)), roundings=2)
    cross = Cross((4, 6), (2, 2))
    wide = normal(18, HEADS, *cross.table_shape), normal(19, HEADS, *cross.shape)
    yield "rectangular", Case(lambda k: convert.rectangular(k, cross), wide[:1])
    yield "project_rectangular", Case(lambda m: convert.project_rectangular(m, cross).kernel, wide[1:], by_value=True)
    run = of(lambda m, q, k, v: retention(q, k, v, m, ring, method="fft"))
    yield "retention fft on a ring", Case(run, (table, *qkv()), roundings=2)
    run = of(lambda m, q, k, v: attend(q, k, v, m, ring, placement="multiply_logits"))
    yield "multiply_logits by auto on a ring", Case(run, (gaussians(1), *qkv()), roundings=16)
