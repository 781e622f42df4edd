"""Every entry that reads data is what its formula says of the same data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from retconv.atlas import ENTRIES
from retconv.atlas.published import gates
from retconv.checks import shift_invariance_residual
from retconv.grid import Grid
from retconv.masks import Forms
from tests import naive
from tests.atlas import naive_gates
from tests.compare import assert_close

HEADS, DIM = gates.HEADS, gates.DIM
NAMES = [entry.name for entry in gates.ENTRIES]


def weights(module: nn.Module) -> list[list[float]]:
    """The rows of its map, and its steps and rates."""
    rest = [getattr(module, name).tolist() for name in ("step_bias", "log_rate") if hasattr(module, name)]
    return [module.project.weight.tolist(), *rest]


def by_loops(name: str, grid: Grid) -> list[naive_gates.Rows]:
    x, q = gates.drawn(1, grid.size, DIM)[0].tolist(), gates.drawn(1, HEADS, grid.size, DIM)[0].tolist()
    places, heads, n = naive.positions(grid.shape), range(HEADS), max(grid.shape)
    if name == "fox":
        (w,) = weights(gates.fox())
        return [naive_gates.fox(x, w[h]) for h in heads]
    if name == "ssd":
        w, bias, rate = weights(gates.ssd())
        return [naive_gates.ssd(x, w[h], bias[h], rate[h]) for h in heads]
    if name == "ppma":
        w, bias, rate = weights(gates.ppma())
        own, part = [[t[h * DIM // HEADS : (h + 1) * DIM // HEADS] for t in x] for h in heads], grid.shape
        return [naive_gates.ppma(own[h], w[0], w[1], bias[h], rate[h], part) for h in heads]
    if name == "sdt":
        (w,) = weights(gates.sdt())
        return [naive_gates.sdt(x, w[h], places) for h in heads]
    if name == "locat":
        (w,) = weights(gates.locat(grid))
        return [naive_gates.locat(q[h], w, places, n) for h in heads]
    shift, draw = gates.drawn(HEADS, grid.size, 2), gates.drawn(HEADS, grid.size, 2, 2, seed=1)
    covariance = torch.eye(2).double() + draw @ draw.mT
    if name == "query_gaussian_axes":
        covariance = torch.diag_embed(1 + gates.drawn(HEADS, grid.size, 2, seed=1).square())
    return [naive_gates.gaussian(shift[h].tolist(), covariance[h].tolist(), places) for h in heads]


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_its_formula_and_no_convolution(name: str) -> None:
    """On a small grid of its kind; on its own grid, of one fixed draw, it has a residual."""
    entry = ENTRIES[name]
    grid = Grid(9) if entry.grid.ndim == 1 else Grid((3, 4))
    forms = Forms.of(entry.build(grid), grid)
    assert_close(forms.entries, by_loops(name, grid))
    assert_close(forms.log.entries.exp(), forms.entries)
    assert forms.heads == HEADS
    assert entry.reads in ("tokens", "queries")
    own, again = (Forms.of(entry.build(entry.grid), entry.grid).entries for _ in range(2))
    assert torch.equal(own, again)
    assert bool((shift_invariance_residual(own, entry.grid) > 1e-3).all())
