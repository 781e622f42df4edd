"""Queries on one grid, keys on another: positions in common coordinates, and the offsets of all pairs."""

from fractions import Fraction

import pytest

from retconv.cross import Cross
from retconv.grid import Grid
from tests import naive_cross as naive
from tests.compare import assert_exact
from tests.cross_cases import CROSSES


@pytest.mark.parametrize("cross", CROSSES, ids=str)
def test_offsets_by_a_loop_over_pairs(cross: Cross) -> None:
    """Of every pair, in steps of the finer grid, exactly; the table holds each once, in order."""
    rows = naive.pairs(cross.queries.shape, cross.keys.shape, cross.stride, cross.origin)
    assert_exact(cross.offsets(), [[[float(d) for d in one] for one in row] for row in rows])
    table = naive.table(rows)
    assert_exact(cross.offset_table().flatten(0, -2), [[float(d) for d in one] for one in table])
    assert_exact(cross.index(), [[table.index(one) for one in row] for row in rows])


@pytest.mark.parametrize("s", [2, 3])
def test_pooled_keys_lie_at_the_centres_of_their_cells(s: int) -> None:
    """Key j of cells of s at ``s j + (s − 1) / 2``, in steps of the queries, which are the finer grid."""
    cross = Cross((4 * s, 2 * s), (4, 2))
    assert (cross.stride, cross.origin) == ((s, s), (Fraction(s - 1, 2),) * 2)
    assert_exact(cross.offsets()[0, :, 0], [s * j + (s - 1) / 2 for j in range(4) for _ in range(2)])


def test_pooled_queries_are_the_mirror_image() -> None:
    """Of queries and keys exchanged every offset has the other sign."""
    there, back = Cross((6, 4), (3, 4)), Cross((3, 4), (6, 4))
    assert_exact(back.offsets(), -there.offsets().transpose(0, 1))


def test_an_appended_query_sees_the_past() -> None:
    """The last row of the n + 1 tokens' own offsets."""
    cross = Cross(1, 5, stride=1, origin=-4)
    assert_exact(cross.offsets()[..., 0], [[-4.0, -3.0, -2.0, -1.0, 0.0]])


def test_one_grid_for_both_has_its_own_offsets() -> None:
    grid = Grid((2, 3))
    cross = Cross(grid, grid)
    assert cross.table_shape == grid.kernel_shape
    assert_exact(cross.index(), grid.offset_index())
    assert cross == Cross((2, 3), (2, 3), stride=1, origin=0)
    assert cross != Cross((2, 3), (2, 3), origin=1)
