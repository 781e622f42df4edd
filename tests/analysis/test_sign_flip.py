"""The tests of the analysis are tested: with the sign of the offset flipped they must fail."""

import pytest

from tests.analysis import checks as analysis
from tests.flips import Check, example, flipped_gather, flipped_offsets  # noqa: F401  (fixtures)

GATHER: dict[str, Check] = {
    "symbol: plane wave": lambda: analysis.check_plane_wave((21, 25)),
    "locality: window sums": example(analysis.check_window_sums),
    "effective: kernel": lambda: analysis.check_effective((3, 4), 0),
    "effective: gradient": lambda: analysis.check_gradient_field((4, 1)),
}
OFFSETS: dict[str, Check] = {
    "locality: masks": lambda: analysis.check_locality_of_masks((3, 4), 0),
    "symbol: causal": lambda: analysis.check_causal_pole(gamma=0.5),
}
checks = {**GATHER, **OFFSETS, "symbol: loops": lambda: analysis.check_symbol((3, 4), 0)}


@pytest.mark.parametrize("check", checks.values(), ids=checks.keys())
def test_checks_pass_with_the_right_sign(check: Check) -> None:
    check()


@pytest.mark.usefixtures("flipped_gather")
@pytest.mark.parametrize("check", GATHER.values(), ids=GATHER.keys())
def test_flipped_gather_is_noticed(check: Check) -> None:
    with pytest.raises(AssertionError):
        check()


@pytest.mark.usefixtures("flipped_offsets")
@pytest.mark.parametrize("check", OFFSETS.values(), ids=OFFSETS.keys())
def test_flipped_offsets_are_noticed(check: Check) -> None:
    with pytest.raises(AssertionError):
        check()


def test_conjugate_symbol_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """exp(−i δ·θ), the convention of a flipped kernel."""
    straight = analysis.symbol
    monkeypatch.setattr(analysis, "symbol", lambda kernel, theta: straight(kernel, theta).conj())
    with pytest.raises(AssertionError):
        checks["symbol: loops"]()
    with pytest.raises(AssertionError):
        checks["symbol: plane wave"]()
