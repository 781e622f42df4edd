"""Exponentials whose weights cancel: what a recurrence makes of rounding is known before it runs."""

from __future__ import annotations

import pytest
import torch

from retconv.checks import relative_error, tolerance
from retconv.kernels import Exponentials
from retconv.retention import Decoder, chunkwise, recurrent, retention
from retconv.retention.cancelling import magnification
from tests.strategies import normal


def double_pole(h: float, causal: bool = True) -> Exponentials:
    """Nearly ``m · 0.99^(m − 1)`` at distance m, of weights ±1/h."""
    weights, poles = torch.tensor([[1 / h, -1 / h]]).double(), torch.tensor([[0.99, 0.99 - h]]).double()
    return Exponentials(weights, poles) if causal else Exponentials(weights, poles, weights, poles)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("h", [1e-2, 1e-3, 1e-4, 1e-6])
def test_auto_keeps_the_tolerance_however_weights_cancel(h: float, causal: bool) -> None:
    line, (q, k, v) = double_pole(h, causal), normal(0, 3, 1, 1, 1024, 16, dtype=torch.float32)
    expected = retention(q.double(), k.double(), v.double(), line, 1024, method="parallel")
    assert relative_error(retention(q, k, v, line, 1024), expected) <= tolerance(torch.float32)


def test_magnification_is_the_weights_over_the_largest_of_the_kernel() -> None:
    """Up to the distances that are looked at; 1 of weights of one sign, whatever stands beside them."""
    for h in (1e-2, 1e-4):
        line = double_pole(h)
        exact = float(2 / h / line.kernel(1024).abs().max())
        assert exact <= magnification(line, 1024) <= 1.1 * exact
    one = Exponentials(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.9, 0.0]]))
    assert magnification(one, 64) == pytest.approx(1.0)
    assert magnification(Exponentials(torch.ones(1, 1), torch.ones(1, 1)), 64) == 1.0
    beside = double_pole(1e-3)
    both = Exponentials(*(torch.cat([torch.ones(1, 2), x]) for x in (beside.past_weights, beside.past_poles)))
    assert magnification(both, 1024) == pytest.approx(magnification(beside, 1024))


def test_what_would_lose_a_thousandth_is_refused_and_float64_serves() -> None:
    line, (q, k, v) = double_pole(1e-6), normal(1, 3, 1, 1, 600, 4, dtype=torch.float32)
    wide = [x.double() for x in (q, k, v)]
    expected = retention(*wide, line, 600, method="parallel")
    for call in (
        lambda *x: retention(*x, line, 600, method="recurrent"),
        lambda *x: recurrent(*x, line)[0],
        lambda *x: chunkwise(*x, line)[0],
        lambda *x: Decoder(line).step(*x),
    ):
        with torch.no_grad(), pytest.raises(ValueError, match="weights of the exponentials cancel"):
            call(q, k, v)
        with torch.no_grad():
            assert relative_error(call(*wide), expected) < 1e-8
