"""Checks of the grid's offsets, which must fail where their sign is flipped."""

from retconv.grid import Grid
from tests import naive
from tests.compare import assert_exact


def check_offsets(shape: tuple[int, ...], seed: int) -> None:
    """The entry at index δ + n − 1 is δ."""
    grid = Grid(shape)
    offsets = grid.offsets()
    assert_exact(offsets.reshape(-1, grid.ndim), naive.offsets(shape))
    assert offsets[grid.center].tolist() == [0] * grid.ndim


def check_offset_index(shape: tuple[int, ...], seed: int) -> None:
    """Entry [q, k] is the place of offset k − q in a kernel."""
    expected = naive.mask(lambda q, k: naive.entry(naive.difference(q, k), shape), shape)
    assert_exact(Grid(shape).offset_index(), expected)
