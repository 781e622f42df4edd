"""Errors of modules that read tokens or queries, and of Gaussians of each query."""

import torch

from retconv.grid import Grid
from retconv.kernels import QueryGaussian
from retconv.masks import ForgetGate, Forms, LocAt, PolylineGate, SpatialDecay, SSDGate
from tests.error_table import Error


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


MODULES: dict[str, Error] = {
    "no features": (lambda: ForgetGate(0, 2), ValueError, "ForgetGate: .* at least 1, got 0 and 2"),
    "no heads": (lambda: SpatialDecay(4, 0), ValueError, "SpatialDecay: .* at least 1, got 4 and 0"),
    "no heads of steps": (lambda: PolylineGate(4, 0), ValueError, "got dim=4, heads=0, axes=2"),
    "heads of other features": (lambda: PolylineGate(5, 2), ValueError, "a multiple of heads, .* got dim=5, heads=2"),
    "four axes": (lambda: PolylineGate(4, 2, axes=4), ValueError, "axes 1 to 3, .* axes=4"),
    "tokens without a batch": (
        lambda: SSDGate(4, 2)(zeros(5, 4), 5),
        ValueError,
        r"SSDGate: expected floating \(batch, 5, 4\) on Grid\(\(5,\)\), got \(5, 4\) in torch.float32",
    ),
    "tokens of another grid": (lambda: ForgetGate(4, 2)(zeros(1, 5, 4), Grid(5, prefix=1)), ValueError, "batch, 6, 4"),
    "tokens that are integers": (lambda: ForgetGate(4, 2)(zeros(1, 5, 4).long(), 5), ValueError, "in torch.int64"),
    "a line of a plane": (
        lambda: PolylineGate(4, 2)(zeros(1, 6, 4), 6),
        ValueError,
        r"PolylineGate: of grids with 2 axes, got Grid\(\(6,\)\)",
    ),
    "twice the features of a forget gate": (lambda: ForgetGate(4, 2)(zeros(1, 5, 8), 5), ValueError, r"5, 8\)"),
    "twice the features of steps": (lambda: SSDGate(4, 2)(zeros(1, 5, 8), 5), ValueError, r"5, 4\) on .* \(1, 5, 8\)"),
    "twice the features of a rate": (lambda: SpatialDecay(4, 2)(zeros(1, 5, 8), 5), ValueError, r"got \(1, 5, 8\)"),
    "twice the features of heads": (
        lambda: LocAt(3, (2, 3))(zeros(1, 2, 6, 6), (2, 3)),
        ValueError,
        r"LocAt: expected floating \(batch, heads, 6, 3\) .* got \(1, 2, 6, 6\)",
    ),
    "other features of polylines": (
        lambda: PolylineGate(4, 2)(zeros(1, 6, 6), (2, 3)),
        ValueError,
        r"PolylineGate: expected floating \(batch, 6, 4\) .* got \(1, 6, 6\)",
    ),
    "LocAt on a line": (
        lambda: LocAt(3, (2, 3))(zeros(1, 2, 6, 3), 6),
        ValueError,
        r"LocAt: of grids with 2 axes, got Grid\(\(6,\)\)",
    ),
    "LocAt of tokens": (
        lambda: LocAt(3, (2, 3))(zeros(1, 6, 3), (2, 3)),
        ValueError,
        r"LocAt: expected floating \(batch, heads, 6, 3\)",
    ),
}

GAUSSIANS: dict[str, Error] = {
    "of tokens alone": (
        lambda: QueryGaussian(zeros(4, 2), zeros(4, 2)),
        ValueError,
        r"shift must be \(heads, N, D\) or .*, got \(4, 2\) in torch.float32, \(4, 2\) in torch.float32",
    ),
    "precision of one axis": (lambda: QueryGaussian(zeros(2, 4, 2), zeros(2, 4, 1)), ValueError, r"\(2, 4, 1\)"),
    "weight of each axis": (
        lambda: QueryGaussian(zeros(2, 4, 2), zeros(2, 4, 2), zeros(2, 4, 2)),
        ValueError,
        "alpha without the last, .* torch.float32, .* torch.float32, .* torch.float32",
    ),
    "two dtypes": (lambda: QueryGaussian(zeros(2, 4, 2), zeros(2, 4, 2).double()), ValueError, "one floating dtype"),
    "complex": (lambda: QueryGaussian(zeros(2, 4, 2).cfloat(), zeros(2, 4, 2)), ValueError, "shift must be real"),
    "another grid": (
        lambda: Forms.of(QueryGaussian(zeros(2, 4, 2), zeros(2, 4, 2)), 8),
        ValueError,
        r"Grid\(\(8,\)\) has 8 tokens on 1 axes, the Gaussians are of 4 on 2: give one a token",
    ),
}

TABLES = {"masks that read": MODULES, "query Gaussians": GAUSSIANS}
