"""Gates against the product of gate after gate, on lines and along paths with a bend for each axis."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels import Decay, Gates, PolylineGates, causal_decay, manhattan_decay
from retconv.masks import Forms
from tests.compare import assert_close, assert_each_close, assert_exact
from tests.kernels import naive_gates
from tests.kernels.gates import BATCH, log_gates, open_gates
from tests.strategies import HEADS, every_grid, on_grids

on_lines = on_grids((1,))
F64 = torch.float64


def each(logs: Tensor, loop: object, *last: object) -> list[object]:
    """A loop for each element and head."""
    return [loop(row, *last) for row in logs.double().flatten(0, -2).tolist()]  # type: ignore[operator]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [F64, torch.float32])
@settings(max_examples=8)
@on_lines
def test_entries_are_products_of_gates(shape: tuple[int], seed: int, causal: bool, dtype: torch.dtype) -> None:
    """Also of zeros, of gates next to 1, and of those that underflow; the logarithm does not."""
    logs = log_gates(seed, shape[0], dtype=dtype)
    gates = Gates(logs, causal)
    entries, log = gates.entries(Grid(shape)), gates.log_entries(Grid(shape))
    assert entries.dtype == log.dtype == dtype
    assert_close(entries.flatten(0, 1), each(logs, naive_gates.line, causal))
    expected = torch.tensor(each(logs, naive_gates.line_log, causal), dtype=F64)
    assert_exact(log.flatten(0, 1).isneginf(), expected.isneginf())
    assert_each_close(
        log.flatten(0, 1).nan_to_num(neginf=1.0), expected.nan_to_num(neginf=1.0), 4 * torch.finfo(dtype).eps
    )


@settings(max_examples=8)
@every_grid
def test_a_polyline_multiplies_what_it_walks_through(shape: tuple[int, ...], seed: int) -> None:
    """And the mask of both paths is the sum, of which the logarithm is the logarithm."""
    grid, size = Grid(shape), math.prod(shape)
    logs = [log_gates(seed + axis, size, None) for axis in range(len(shape))]
    rows = list(zip(*(x.tolist() for x in logs), strict=True))
    for both in (False, True):
        gates = PolylineGates(tuple(logs), both)
        assert_close(gates.entries(grid), [naive_gates.polyline(row, shape, both) for row in rows])
        assert_exact(gates.log_entries(grid).exp(), gates.entries(grid))
        stacked = PolylineGates(tuple(x.expand(BATCH, -1, -1) for x in logs), both)
        assert_exact(stacked.entries(grid), gates.entries(grid).expand(BATCH, -1, -1, -1))
    path = PolylineGates(tuple(logs)).entries(grid)
    assert_close(PolylineGates(tuple(logs), both=True).entries(grid), path + path.mT)


def test_published_examples_of_a_polyline() -> None:
    """PPMA's figure 3: from x_11 to x_44 by α_12 α_13 α_14 β_24 β_34 β_44."""
    alpha, beta = open_gates(0, 1, 16), open_gates(1, 1, 16)
    a, b = alpha.exp()[0].view(4, 4), beta.exp()[0].view(4, 4)
    expected = a[0, 1] * a[0, 2] * a[0, 3] * b[1, 3] * b[2, 3] * b[3, 3]
    assert_close(PolylineGates((beta, alpha)).entries(Grid((4, 4)))[0, 0, 15], expected)


@pytest.mark.parametrize("gamma", [1.0, 1 - 1e-9, 0.9, 0.3, 1e-30])
@pytest.mark.parametrize("size", [1, 2, 7, 200])
def test_equal_gates_are_the_decay_to_the_bit(gamma: float, size: int) -> None:
    """Entries and logarithms, causal and two-sided; on a plane the Manhattan decay up to rounding."""
    gammas = torch.tensor([gamma, 0.77], dtype=F64)
    logs = gammas.log()[:, None].expand(-1, size)
    for causal in (True, False):
        ours, decay = Forms.of(Gates(logs, causal), Grid(size)), Forms.of(Decay(gammas, causal), Grid(size))
        assert_exact(ours.entries, decay.entries)
        assert_exact(ours.log.entries, decay.log.entries)
    plane = PolylineGates((gammas.log()[:, None].expand(-1, 15),) * 2)
    offsets = Grid((3, 5)).offsets()
    assert_close(plane.entries(Grid((3, 5))), Forms.of(manhattan_decay(offsets, gammas), Grid((3, 5))).entries)


def test_equal_gates_of_float32_are_within_an_ulp() -> None:
    """They are the decay of the γ whose logarithm they are, rounded once."""
    logs = torch.tensor([[-0.1], [-1e-3]]).expand(-1, 60)
    entries = Gates(logs).entries(Grid(60))
    exact = causal_decay(Grid(60).offsets(), logs[:, 0].double().exp())
    expected = Forms.of(exact, Grid(60)).entries
    assert_each_close(entries, expected, torch.finfo(torch.float32).eps)


def test_a_long_line_does_not_cancel() -> None:
    """After strong gates slow ones are as exact as alone: differences of one cumulative sum would lose 1e-10 here."""
    logs = torch.cat([torch.full((1, 1000), -700.0, dtype=F64), torch.full((1, 1000), -1e-4, dtype=F64)], dim=1)
    entries = Gates(logs).entries(Grid(2000))[0]
    steps = torch.arange(1000, dtype=F64)
    assert_each_close(entries[1000:, 1000], (-1e-4 * steps).exp(), 1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_are_those_of_the_products(causal: bool) -> None:
    """By differences, first and second derivatives; none reaches gate 1, and through a 0 none flows."""
    logs = open_gates(0, BATCH, HEADS, 4).requires_grad_()
    for f in (Gates.entries, Gates.log_entries):
        assert torch.autograd.gradcheck(lambda x, f=f: f(Gates(x, causal), Grid(4)).tril(), logs)
    assert torch.autograd.gradgradcheck(lambda x: Gates(x, causal).entries(Grid(4)), logs)
    planes = tuple(open_gates(i, HEADS, 6).requires_grad_() for i in (1, 2))
    for both in (False, True):
        assert torch.autograd.gradcheck(lambda *x, both=both: PolylineGates(x, both).entries(Grid((2, 3))), planes)
        assert torch.autograd.gradcheck(lambda *x, both=both: PolylineGates(x, both).log_entries(Grid((2, 3))), planes)
    cut = torch.tensor([[-0.5, -0.2, -torch.inf, -0.3]], dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(Gates(cut, causal).entries(Grid(4)).sum(), cut)
    assert bool(slope.isfinite().all())
    assert slope[0, 0] == 0 == slope[0, 2]
    cuts = torch.full((1, 6), -torch.inf, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(PolylineGates((cuts, cuts), True).log_entries(Grid((2, 3))).exp().sum(), cuts)
    assert_exact(slope, torch.zeros(1, 6))
