"""How tests compare numbers: bit for bit, or by the package's one table of tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retconv.checks import tolerance


def assert_exact(actual: Tensor, expected: Tensor | Sequence[Any]) -> None:
    """Every entry equals the expected one bit for bit (up to the sign of zero)."""
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert torch.equal(actual, expected), f"{int((actual != expected).sum())} of {actual.numel()} entries differ"


def assert_close(actual: Tensor, expected: Tensor | Sequence[Any], dtype: torch.dtype | None = None) -> None:
    """``max |actual − expected| ≤ tolerance · max |expected|``, the tolerance being that of ``dtype`` (or actual's)."""
    expected = torch.as_tensor(expected, dtype=torch.float64).detach()
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    bound = tolerance(dtype or actual.dtype) * float(expected.abs().max())
    error = float((actual.detach().double() - expected).abs().max())
    assert error <= bound, f"largest error {error:.3e} above {bound:.3e}"


def assert_each_close(actual: Tensor, expected: Tensor | Sequence[Any], relative: float) -> None:
    """``|actual − expected| ≤ relative · |expected|`` entry by entry, in the range of normal numbers of the dtype."""
    expected = torch.as_tensor(expected, dtype=torch.float64).detach()
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    floor = torch.finfo(actual.dtype).tiny
    excess = (actual.detach().double() - expected).abs() - relative * expected.abs().clamp(min=floor)
    assert bool((excess <= 0).all()), (
        f"{int((excess > 0).sum())} of {actual.numel()} entries off, by {float(excess.max()):.3e}"
    )
