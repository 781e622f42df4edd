"""Claimed closed forms as numeric functions, and how tests compare them with the package's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON, causal_decay
from retconv.proofs import PROOFS

#: The issue's figure: every closed form equals its numeric counterpart to 1e-10, relative to the largest number.
CLOSE = 1e-10
REACH = 400
gammas, sigmas, angles = st.floats(0.2, 0.9), st.floats(0.4, 4.0), st.floats(-math.pi, math.pi)
drawn = settings(max_examples=10)


def form(proof: str, name: str, *arguments: str) -> Callable[..., np.ndarray]:
    """A claimed closed form as a numeric function of its symbols."""
    return PROOFS[proof]().function(name, *arguments)


def f64(numbers: object) -> Tensor:
    """Python numbers as they are: float32, torch's default, would round them."""
    return torch.as_tensor(numbers, dtype=torch.float64)


def width(sigma: float) -> float:
    """What the proofs call σ: the root of the variance σ² + ε."""
    return math.sqrt(sigma**2 + GAUSSIAN_EPSILON)


def line(n: int = REACH) -> Tensor:
    """Offsets 1 − n … n − 1."""
    return Grid(n).offsets()[:, 0].double()


def assert_same(actual: object, expected: object) -> None:
    """Largest difference at most ``CLOSE`` of the largest number, or of 1."""
    a, e = np.asarray(actual), np.asarray(expected)
    assert a.shape == e.shape
    assert np.abs(a - e).max() <= CLOSE * max(1.0, np.abs(e).max())


def check_causal_inverse(gamma: float, n: int) -> None:
    diagonal, below = (form("causal_inverse", name, "gamma")(gamma) for name in ("diagonal", "below"))
    inverse = diagonal * np.eye(n) + below * np.eye(n, k=-1)
    assert_same(inverse, torch.linalg.inv(kernel_to_mask(causal_decay(line(n)[:, None], f64([gamma])), n)[0]))
