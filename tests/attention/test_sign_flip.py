"""With the sign of the offset flipped, the tests of attention must fail: the mask read as M[q, k] = K[q − k]."""

import pytest
import torch
from torch import Tensor

from retconv.attention import PLACEMENTS, attend, backends, rows
from retconv.attention.cuts import Cuts
from retconv.grid import Grid
from tests.attention.cases import check_against_loops, kernel_for, loops, qkv
from tests.attention.portable import PORTABLE
from tests.compare import assert_close
from tests.flips import Check, flipped_gather  # noqa: F401

SHAPE, SEED = (3, 5), 1


def against_loops(placement: str, backend: str) -> Check:
    """One comparison of a backend with the double loop, on an oblong grid and a kernel without symmetry."""

    def check() -> None:
        grid = Grid(SHAPE)
        q, k, v = qkv(grid, SEED)
        kernel = kernel_for(placement, SHAPE, SEED)
        expected, _ = loops(placement, q, k, v, kernel, grid, None, 0.7)
        assert_close(attend(q, k, v, kernel, grid, scale=0.7, backend=backend, placement=placement), expected)

    return check


#: The operator has a flip of its own in ``project/test_sign_flip``, and a Gaussian is symmetric.
CHECKS = {
    f"{placement}, {backend}": against_loops(placement, backend)
    for placement, names in PORTABLE.items()
    for backend in names
    if backend not in ("operator", "channels")
} | {
    f"{placement}, weights": lambda p=placement: check_against_loops(p, SHAPE, SEED, torch.float64)
    for placement in PLACEMENTS
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_checks_pass_with_the_right_sign(check: Check) -> None:
    check()


@pytest.mark.usefixtures("flipped_gather")
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_flipped_gather_is_noticed(check: Check) -> None:
    with pytest.raises(AssertionError):
        check()


def test_flipped_runs_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of runs, in which large masks are read, has a sign of its own."""
    monkeypatch.setattr(backends, "CUTS", Cuts(table=1))
    check, straight = against_loops("multiply_logits", "recompute"), rows.runs
    check()

    def backwards(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
        return straight(kernel.flip(tuple(range(1, kernel.ndim))), shape)

    monkeypatch.setattr(rows, "runs", backwards)
    with pytest.raises(AssertionError):
        check()
