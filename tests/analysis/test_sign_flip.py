"""The tests of the analysis are tested: with the sign of the offset flipped they must fail."""

from collections.abc import Callable

import pytest

from tests.analysis import test_effective as test_analysis_effective
from tests.analysis import test_locality as test_analysis_locality
from tests.analysis import test_symbol as test_analysis_symbol
from tests.project.test_sign_flip import flipped_gather, flipped_offsets, inner  # noqa: F401  (fixtures)

Check = Callable[[], None]

GATHER: dict[str, Check] = {
    "symbol: plane wave": lambda: test_analysis_symbol.test_symbol_is_the_gain_of_a_plane_wave((21, 25)),
    "locality: window sums": inner(test_analysis_locality.test_window_sums_are_the_row_sums_of_the_mask),
    "effective: kernel": lambda: test_analysis_effective.check_effective((3, 4), 0),
    "effective: gradient": lambda: test_analysis_effective.check_gradient_field((4, 1)),
}
OFFSETS: dict[str, Check] = {
    "locality: masks": lambda: test_analysis_locality.check_locality_of_masks((3, 4), 0),
    "symbol: causal": lambda: test_analysis_symbol.test_law_6_causal_decay_is_one_pole.hypothesis.inner_test(gamma=0.5),
}
checks = {**GATHER, **OFFSETS, "symbol: loops": lambda: test_analysis_symbol.check_symbol((3, 4), 0)}


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
    straight = test_analysis_symbol.symbol
    monkeypatch.setattr(test_analysis_symbol, "symbol", lambda kernel, theta: straight(kernel, theta).conj())
    with pytest.raises(AssertionError):
        checks["symbol: loops"]()
    with pytest.raises(AssertionError):
        checks["symbol: plane wave"]()
