"""Cases of convolved heads."""

from __future__ import annotations

from collections.abc import Iterator

from retconv.grid import Grid
from retconv.heads import ConvolvedHeads
from tests.public.case import HEADS, SHAPE, Case, kernel, normal, positive


def cases() -> Iterator[tuple[str, Case]]:
    for prefix in (0, 2):
        grid = Grid(SHAPE, prefix=prefix)
        rows = positive(1, HEADS, prefix, grid.length) / grid.length
        border = (rows, positive(2, HEADS, grid.size, prefix)) if prefix else ()
        heads = ConvolvedHeads(range(HEADS), HEADS, grid, kernel(), *border)
        v = normal(3, 2, HEADS, grid.length, 4)
        yield f"convolved heads with {prefix} prefix tokens", Case(lambda m, v, g=grid: m.mix(v, g), (heads, v))
