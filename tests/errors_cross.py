"""Errors of queries on one grid and keys on another."""

import torch

from retconv.convert import project_rectangular, rectangular
from retconv.cross import Cross
from retconv.grid import Grid
from tests.error_table import Error

CROSS: dict[str, Error] = {
    "axes": (lambda: Cross(4, (2, 2)), ValueError, r"as many axes, got Grid\(\(4,\)\) and Grid\(\(2, 2\)\)"),
    "a ring": (
        lambda: Cross(Grid(4, periodic=True), 2),
        ValueError,
        "Cross is for open grids.*one periodic grid for both",
    ),
    "stride of 0": (lambda: Cross(4, 2, stride=0), ValueError, "stride must be positive, got 0"),
    "strides": (lambda: Cross((4, 4), (2, 2), stride=(1,)), ValueError, r"one for each of 2 axes, got \(1,\)"),
    "origin": (lambda: Cross(4, 2, origin=float("inf")), ValueError, "origin must be a finite number, .* got inf"),
    "table": (lambda: rectangular(torch.ones(1, 7), Cross(4, 2)), ValueError, r"\(heads, 6\).*got shape \(1, 7\)"),
    "mask": (
        lambda: project_rectangular(torch.ones(1, 4, 4), Cross(4, 2)),
        ValueError,
        r"\(heads, 4, 2\) of Cross.* got torch.float32 of shape \(1, 4, 4\)",
    ),
    "infinite mask": (
        lambda: project_rectangular(torch.full((1, 4, 2), -torch.inf), Cross(4, 2)),
        ValueError,
        "must be finite, .* with −inf",
    ),
    "huge mask": (
        lambda: project_rectangular(torch.full((1, 4, 2), 1.7e308, dtype=torch.float64), Cross(4, 2)),
        ValueError,
        "must be finite, its norm far from overflow",
    ),
}
TABLES = {"cross": CROSS}
