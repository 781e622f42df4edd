"""How ``auto`` chooses: by the cost model, and by a trial among methods that it cannot tell apart."""

import dataclasses
import time

import pytest
import torch

from retconv.checks import relative_error, tolerance
from retconv.grid import Grid
from retconv.masks import DecayMask
from retconv.operators import method_cost, operator
from retconv.operators.recursive import LONG, STEP
from tests.operators.cases import without_numba

CPU = torch.device("cpu")
#: A grid on which the FFT and the Toeplitz product are close, and take tens of milliseconds.
LARGE = method_cost.Problem(Grid((128, 128)), 1, 192, 0, False, torch.float32, CPU)
SMALL = method_cost.Problem(Grid((4, 4)), 1, 192, 0, False, torch.float32, CPU)


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial of another test is remembered."""
    monkeypatch.setattr(method_cost, "_tried", {})


@pytest.mark.parametrize("fast", ["fft", "toeplitz"])
def test_a_trial_decides_between_close_methods_once(fast: str) -> None:
    calls: list[str] = []

    def apply(method: str) -> None:
        calls.append(method)
        time.sleep(0 if method == fast else 0.02)

    assert method_cost.choose(LARGE, apply) == fast
    assert set(calls) == {"fft", "toeplitz"}
    calls.clear()
    assert method_cost.choose(LARGE, apply) == fast
    assert calls == []


def test_the_model_alone_decides_where_an_application_is_short() -> None:
    def apply(method: str) -> None:
        raise AssertionError(f"{method} was tried")

    assert method_cost.choose(SMALL, apply) == "dense"


def test_a_trial_leaves_only_the_chosen_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_cost, "WORTH_A_TRIAL", 0.0)
    monkeypatch.setattr(method_cost, "CLOSE", float("inf"))
    op = operator(DecayMask(2), (3, 5))
    x = torch.randn(2, 15, 4)
    chosen = op.choose(x)
    assert [method for method, _ in op._prepared] == [chosen]
    assert torch.equal(op @ x, operator(DecayMask(2), (3, 5), chosen) @ x)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("gamma", [1e-3, 0.9, 1 - 1e-9])
def test_long_steps_of_a_decay_agree_with_blocks(heads: int, dtype: torch.dtype, gamma: float) -> None:
    """Rows of many entries on long axes are taken one by one, narrower ones in blocks: the columns do not care."""
    grid, columns = Grid((41, 40)), -(-STEP // (LONG * heads))
    mask = DecayMask(heads, gamma=torch.linspace(0.5 * gamma, gamma, heads, dtype=torch.float64)).to(dtype)
    x = torch.randn(heads, grid.size, columns, generator=torch.Generator().manual_seed(0), dtype=dtype)
    op = operator(mask, grid, "recursive")
    with without_numba():
        long = op @ x
        blocks = torch.cat([op @ part for part in x.split(64, dim=2)], dim=2)
        assert relative_error(long, blocks) <= tolerance(dtype)
        transposed = x.mT.contiguous().mT
        assert torch.equal(op @ transposed, long)


def test_the_model_knows_compiled_recursions() -> None:
    """They win from 8×8 tokens on, where blocks of a recursion do not yet."""
    problem = method_cost.Problem(Grid((8, 8)), 1, 192, 1, True, torch.float32, CPU)
    assert method_cost.choose(problem, None) != "recursive"
    assert method_cost.choose(dataclasses.replace(problem, compiled=True), None) == "recursive"
    op, x = operator(DecayMask(1), (8, 8)), torch.randn(1, 64, 192)
    assert op.choose(x) == "recursive"
    with without_numba():
        assert op.choose(x) != "recursive"


def test_few_columns_are_not_cheap_for_products() -> None:
    """Two columns of many heads, or on a large grid, are a recursion's; one column of one small matrix is a product."""
    for shape, heads in (((128, 128), 1), ((32, 32), 12), ((64, 64), 12)):
        problem = method_cost.Problem(Grid(shape), heads, 2, 1, True, torch.float32, CPU, compiled=True)
        assert method_cost.choose(problem, None) == "recursive"
    assert method_cost.choose(method_cost.Problem(Grid((8, 8)), 1, 1, 0, False, torch.float32, CPU), None) == "dense"
