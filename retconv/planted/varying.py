"""A planted target that varies in space: a free mask must not become a convolution.

As in ``recovery``, but the kernel widens from one side of the grid to the other, by an ``amount`` from 0, a
convolution, to 1, fourfold. Its projection residual r* (law 3) is known. Hypotheses:

- the residual of the element-wise mask settles at r*, not at 0 (nor above): its expectation is that of ``recovery``;
- the kernel table comes no nearer than r* to what was planted. That is no matter of samples: it is a convolution, and
  P M* is the nearest one. With endless samples it becomes P M*.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from retconv.convert import kernel_to_mask, project
from retconv.grid import Grid
from retconv.planted.recovery import ENOUGH, elm_error, elm_residual, residual, rows
from retconv.planted.tables import Bound
from retconv.planted.targets import varying_mask

FAMILIES = ("elm", "table")
AMOUNTS = (0.0, 0.25, 0.5, 1.0)
SMALL_AMOUNTS = (0.0, 1.0)
#: Samples, as multiples of the number of tokens.
RATIOS = (2, 4, 8, 16, 32, 64, 128)
SMALL_RATIOS = (4, 32, 128)


def table(small: bool = False, report: Callable[[], object] = lambda: None) -> pd.DataFrame:
    """Every amount, family, number of samples and seed; what was planted and what theory expects beside it.

    Args:
        small: A 3×5 grid, two amounts, three numbers of samples and three seeds.
        report: Called after every amount.
    """
    grid, seeds = (Grid((3, 5)), range(3)) if small else (Grid((6, 6)), range(8))
    amounts, ratios = (SMALL_AMOUNTS, SMALL_RATIOS) if small else (AMOUNTS, RATIOS)
    fits: list[dict[str, object]] = []
    for amount in amounts:
        mask = varying_mask(grid, amount)
        nearest = kernel_to_mask(project(mask, grid).kernel, grid)
        constants = {"amount": amount, "tokens": grid.size, "planted_residual": residual(mask, grid)}
        constants["planted_squared"] = float((nearest - mask).square().sum())
        for row in rows(f"varying {amount:g}", mask, grid, FAMILIES, ratios, seeds):
            if row["family"] == "elm":
                n = int(str(row["n"]))
                row |= {"expected": elm_error(mask, n), "expected_residual": elm_residual(mask, grid, n)}
            fits.append(row | constants)
        report()
    return pd.DataFrame(fits)


def bounds(data: pd.DataFrame) -> list[Bound]:
    """What the table must show; see the module."""
    limits = []
    for amount, own in data.groupby("amount"):
        planted, most = own["planted_residual"].iloc[0], own["n"] == own["n"].max()
        elm, kernel = own[own["family"] == "elm"], own[own["family"] == "table"]
        enough = elm[elm["n"] >= ENOUGH * elm["tokens"]]
        ratio = float((enough["residual"] / enough["expected_residual"]).mean())
        limits.append(Bound(f"amount {amount:g}: ELM's residual over its theory", 0.95, ratio, 1.05))
        last = float(elm.loc[most, "residual"].mean())
        claim = f"amount {amount:g}: ELM's residual from most samples"
        limits.append(Bound(claim, 0.95 * planted, last, planted + 0.05))
        least, end = float(kernel["distance"].min()), float(kernel.loc[most, "distance"].mean())
        # Stored numbers have six digits.
        limits.append(Bound(f"amount {amount:g}: the table's least distance", planted * (1 - 1e-5), least, math.inf))
        limits.append(Bound(f"amount {amount:g}: the table's distance from most samples", 0, end, planted + 0.05))
    return limits
