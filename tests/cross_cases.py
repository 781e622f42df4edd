"""Pairs of grids: pooled keys and queries, halves, an appended query, prefix tokens, steps without a common measure."""

from fractions import Fraction

from retconv.cross import Cross
from retconv.grid import Grid

CROSSES = [
    Cross(1, 1),
    Cross(6, 3),
    Cross(3, 6),
    Cross(1, 5, stride=1, origin=-4),
    Cross(7, 3),
    Cross((1, 6), (1, 2)),
    Cross((4, 6), (2, 2)),
    Cross((2, 6), (4, 3)),
    Cross((2, 3), (3, 2), stride=(1, Fraction(3, 2)), origin=(-0.5, 0)),
    Cross((2, 4, 2), (2, 2, 1)),
    Cross(Grid((2, 4), prefix=1), Grid((1, 2), prefix=2)),
]
