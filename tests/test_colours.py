"""Colours of maps."""

import pytest

from retconv.colours import scale


@pytest.mark.parametrize(("signed", "low"), [(True, -3.0), (False, 0.0)])
def test_signed_maps_are_centred_at_0(signed: bool, low: float) -> None:
    norm = scale([-3.0, 1.0], signed)["norm"]
    assert (norm.vmin, norm.vmax) == (low, 3.0)
