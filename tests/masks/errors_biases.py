"""Errors of position biases, windows and tables of biases."""

import torch

from retconv.grid import Grid
from retconv.masks import BiasMask, BiasTableMask, WindowMask
from retconv.models import MASKS
from tests.error_table import Error

BIASES: dict[str, Error] = {
    "bias unknown": (
        lambda: BiasMask(2, "alibi"),  # type: ignore[arg-type]
        ValueError,
        "unknown bias 'alibi': choose from kerple_log, kerple_power, gpsa",
    ),
    "a number of another bias": (
        lambda: BiasMask(2, "kerple_log", exponent=1.0),
        ValueError,
        r"bias 'kerple_log' has the numbers \['rate', 'scale'\], got \['exponent'\]",
    ),
    "scale of 0": (lambda: BiasMask(2, "kerple_log", scale=0.0), ValueError, "scale must be positive, got 0"),
    "exponent of 2": (
        lambda: BiasMask(2, "kerple_power", exponent=2.0),
        ValueError,
        r"exponent must lie in \(0, 2\), got 2",
    ),
    "rates of other heads": (
        lambda: BiasMask(2, "kerple_log", rate=torch.ones(3)),
        ValueError,
        r"rate must be a number or of shape \(2,\), got shape \(3,\)",
    ),
    "directions on other axes": (
        lambda: BiasMask(2, "gpsa").kernel(5),
        ValueError,
        r"'gpsa' has directions on 2 axes, and the grid has 1: make one with axes=1",
    ),
    "a table on a larger window": (
        lambda: BiasTableMask((3, 4), 2).kernel((4, 3)),
        ValueError,
        r"holds the offsets of Grid\(\(3, 4\)\) and cannot move to Grid\(\(4, 3\)\): make one .*KernelTableMask",
    ),
    "a table of other axes": (lambda: BiasTableMask((3, 4), 2).log_kernel(3), ValueError, r"cannot move to Grid\(\(3"),
    "spread below 0": (lambda: BiasTableMask(3, 2, std=-1.0), ValueError, "std must be at least 0, got -1"),
    "radius below 0": (lambda: WindowMask(2, radius=-1), ValueError, "radius must be at least 0, got -1"),
    "dilation of 0": (lambda: WindowMask(2, dilation=0), ValueError, "dilation must be at least 1, got 0"),
    "slope unknown": (
        lambda: MASKS["alibi"](Grid(3), 2, slope="alibis"),
        ValueError,
        "unknown slope schedule 'alibis': did you mean 'alibi'",
    ),
}

TABLES = {"biases": BIASES}
