"""The tests of retention are tested: with the sign of the offset flipped they must fail."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from retconv.kernels import Exponentials
from retconv.retention import retention
from tests.retention import cases

F64 = torch.float64
#: Each form with a grid on which its check has an asymmetric mask; Manhattan decay cannot tell the sign.
CHECKS = {method: (3, 5) for method in ("parallel", "tiled", "fft", "convolution")} | {
    method: (7,) for method in ("recurrent", "chunkwise", "scan")
}


def transposed(
    q: Tensor, k: Tensor, v: Tensor, mask: object, grid: object, *, method: str, **options: object
) -> Tensor:
    """The same form under ``K[query − key]``."""
    if isinstance(mask, Tensor):
        return retention(q, k, v, mask.flip(tuple(range(1, mask.ndim))), grid, method=method, **options)
    assert isinstance(mask, Exponentials)
    # The mask transposed is the sequence reversed.
    q, k, v = (t.flip(2) for t in (q, k, v))
    return retention(q, k, v, mask, grid, method=method, **options).flip(2)


@pytest.mark.parametrize("method", CHECKS)
def test_check_passes_with_the_right_sign(method: str) -> None:
    cases.check_against_loops(CHECKS[method], 0, method, F64)


@pytest.mark.parametrize("method", CHECKS)
def test_flipped_sign_is_noticed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "retention", transposed)
    with pytest.raises(AssertionError, match="largest error"):
        cases.check_against_loops(CHECKS[method], 0, method, F64)
