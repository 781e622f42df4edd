"""Rotary angles against the published formulas, with their numbers written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retconv.retention import rotate, rotation_angles
from tests.compare import assert_close, assert_each_close
from tests.retention import naive as naive_retention
from tests.strategies import normal

#: Head size, whether the last angle is 1 / base, and the angles that RetNet's code and RoPE's paper give.
PUBLISHED: dict[str, tuple[int, bool, list[float]]] = {
    "retnet, 2": (2, True, [1.0]),
    "retnet, 4": (4, True, [1.0, 1e-4]),
    "retnet, 8": (8, True, [1.0, 0.046415888336127790, 0.0021544346900318843, 1e-4]),
    "retnet, 10": (10, True, [1.0, 0.1, 0.01, 0.001, 1e-4]),
    "rope, 2": (2, False, [1.0]),
    "rope, 4": (4, False, [1.0, 0.01]),
    "rope, 6": (6, False, [1.0, 0.046415888336127790, 0.0021544346900318843]),
    "rope, 8": (8, False, [1.0, 0.1, 0.01, 0.001]),
}


@pytest.mark.parametrize(("size", "endpoint", "angles"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_angles(size: int, endpoint: bool, angles: list[float]) -> None:
    """``1 / 10000^linspace(0, 1, d/2)`` of torchscale, ``10000^(−2(i−1)/d)`` of RoPE."""
    assert_each_close(rotation_angles(size, endpoint=endpoint), angles, 1e-14)


@given(st.integers(1, 128), st.sampled_from([10000.0, 500000.0, 2.0]), st.booleans())
def test_angles_have_the_digits_of_float64(pairs: int, base: float, endpoint: bool) -> None:
    """A loop over pairs: at token 65,535 an angle of float32's digits is off by 4e-3 radians."""
    last = max(pairs - 1, 1) if endpoint else pairs
    expected = [1.0 / math.pow(base, j / last) for j in range(pairs)]
    angles = rotation_angles(2 * pairs, base, endpoint)
    assert angles.dtype == torch.float64
    assert_each_close(angles, expected, 1e-14)


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("endpoint", [True, False])
def test_tokens_turn_by_published_angles(layout: str, endpoint: bool) -> None:
    """Each pair as a complex number times e^{iθn}, with the published angles of four pairs."""
    angles = [10000.0 ** (-j / (3 if endpoint else 4)) for j in range(4)]
    x, first = normal(0, 3, 8), 100
    turned = rotate(x, rotation_angles(8, endpoint=endpoint), first, layout)  # type: ignore[arg-type]
    expected = [naive_retention.rotated(row, first + n, angles, layout == "half") for n, row in enumerate(x.tolist())]
    assert_close(turned, expected)
