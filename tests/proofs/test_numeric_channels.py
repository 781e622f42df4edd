"""The claimed channels of a query's own Gaussian are those of the package."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from retconv.attention import shifted_gaussian_channels
from retconv.grid import Grid
from tests.proofs.closed_forms import assert_same, drawn, f64, form

numbers = st.floats(-3, 3)
SYMBOLS = ("m_1", "m_2", "A_11", "A_12", "A_22")


@drawn
@given(mean=st.tuples(numbers, numbers), a=numbers, b=numbers, c=numbers)
def test_law_21_shifted_gaussian(mean: tuple[float, float], a: float, b: float, c: float) -> None:
    """Of a query at the centre of a board, whose mean is its shift; beside a prefix token the row is a channel."""
    grid = Grid((3, 3), prefix=1)
    shift = f64(mean).expand(1, 9, 2)
    extra = shifted_gaussian_channels(shift, f64([[a, b], [b, c]]).expand(1, 9, 2, 2), grid)
    centre = 1 + 4
    expected = [
        form("shifted_gaussian", name, *SYMBOLS)(*mean, a, b, c) for name in ("x", "y", "xx", "yy", "xy", "row")
    ]
    assert_same(extra.query[0, centre], torch.tensor(expected, dtype=torch.float64))
    x, y = (grid.coordinates().double() - 1).unbind(dim=-1)
    assert_same(extra.key[0, 1:], torch.stack([x, y, x**2, y**2, x * y, torch.ones(9)], dim=-1))
