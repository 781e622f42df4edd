"""Errors of systems with a mask."""

import torch

from retconv.grid import Grid
from retconv.kernels import Decay, Separable, gaussian
from retconv.operators import SolveError, operator
from tests.error_table import Error


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.float64)


def line(*entries: float) -> torch.Tensor:
    """A kernel of one head."""
    return torch.tensor([entries], dtype=torch.float64)


def wide(sigma: float) -> torch.Tensor:
    return gaussian(Grid((40, 40)).offsets(), sigma * ones(1))


SOLVE: dict[str, Error] = {
    "integers": (
        lambda: operator(ones(1, 5), 3).solve(ones(3, 1).int()),
        ValueError,
        r"call y.float\(\)",
    ),
    "tokens": (lambda: operator(ones(1, 5), 3).solve(ones(1, 4, 2)), ValueError, r"y must be \(…, 1, 3, d\)"),
    "heads": (lambda: operator(ones(2, 5), 3).solve(ones(4, 3, 1)), ValueError, "y has 4 heads .* operator has 2"),
    "tolerance": (
        lambda: operator(ones(1, 5), 3).solve(ones(3, 1), tolerance=0.0),
        ValueError,
        "tolerance must be positive, got 0.0",
    ),
    "unknown method": (
        lambda: operator(ones(1, 5), 3).solve(ones(3, 1), "lu"),
        ValueError,
        "unknown method to solve by 'lu': choose from auto, recursive, separable, dense",
    ),
    "method of another mask": (
        lambda: operator(ones(1, 5), 3).solve(ones(3, 1), "recursive"),
        ValueError,
        r"'recursive' does not apply to this kernel on Grid\(\(3,\)\): one of dense, levinson, cg",
    ),
    "no decay at all": (
        lambda: operator(Decay(ones(1)), 3).solve(ones(3, 1)),
        ValueError,
        "gamma must be below 1: without decay all rows are equal, got 1",
    ),
    "singular": (
        lambda: operator(ones(1, 5), 3).solve(ones(3, 1)),
        SolveError,
        "the mask of head 0 is singular to working precision: its smallest pivot is 0 of its largest; add to",
    ),
    "not finite": (
        lambda: operator(line(0, 1, 0), 2).solve(torch.nan * ones(2, 1)),
        SolveError,
        "by 'dense' the relative residual is nan, above the tolerance of 1e-08",
    ),
    "leading block": (
        lambda: operator(line(1, 0, 1), 2).solve(ones(2, 1), "levinson"),
        SolveError,
        "Levinson's recursion divides by zero in head 0: .* use method='dense'",
    ),
    "hidden values": (
        lambda: torch.vmap(lambda y: operator(line(0, 1, 0), 2).solve(y, "levinson"))(ones(3, 2, 1)),
        ValueError,
        "method 'levinson' decides by values, .* tracers hide: call it outside of them, or use method='dense'",
    ),
}

CONJUGATE: dict[str, Error] = {
    "not even": (
        lambda: operator(line(0, 1, 2), 2).solve(ones(2, 1), "cg"),
        ValueError,
        r"'cg' is for even kernels, K\[−δ\] = K\[δ\], which that of head 0 is not: use method='dense'",
    ),
    "indefinite": (
        lambda: operator(line(2, 1, 2), 2).solve(ones(2, 1), "cg"),
        SolveError,
        "head 0 is not positive definite: xᵀ M x = -1 for some x, .* add to the kernel's entry at offset 0",
    ),
    "condition": (
        lambda: operator(wide(1.5), (40, 40)).solve(ones(1600, 1)),
        SolveError,
        r"head 0 has a condition number of at least \S+, about 1.1e\+09 by its symbol, above 1e\+06",
    ),
    "not reached": (
        lambda: operator(wide(1.0), (40, 40)).solve(ones(1600, 1), tolerance=1e-30),
        SolveError,
        r"conjugate gradients reached a relative residual of \S+ in \d+ steps, .*: raise the tolerance",
    ),
}

LOGDET: dict[str, Error] = {
    "too many tokens": (
        lambda: operator(wide(1.0), (40, 40)).logdet(),
        ValueError,
        "elimination up to 1024 tokens, .*, got a kernel on .* with N = 1600: give the decay or the factors",
    ),
    "an axis too long for its factor": (
        lambda: operator(Separable((ones(1, 1, 3), ones(1, 1, 2049))), (2, 1025)).logdet(),
        ValueError,
        r"up to 1024 tokens, of one outer product along each axis, got a kernel on Grid\(\(2, 1025\)\)",
    ),
    "negative": (
        lambda: operator(line(2, 1, 2), 2).logdet(),
        SolveError,
        "the determinant of head 0 is −exp.1.09861., which .*slogdet",
    ),
    "zero": (
        lambda: operator(Separable((ones(1, 1, 3), ones(1, 1, 3))), (2, 2)).logdet(),
        SolveError,
        "the determinant of head 0 is 0, which has no real logarithm",
    ),
    "singular to working precision": (
        lambda: operator(torch.exp(-torch.arange(-31.0, 32.0).double().square() / 50)[None], 32).logdet(),
        SolveError,
        "singular to working precision: rounding its entries changes log det M by up to .*add to the kernel's entry",
    ),
    "no decay at all": (lambda: operator(Decay(ones(1)), 3).logdet(), ValueError, "gamma must be below 1"),
}

TABLES = {"solve": SOLVE, "conjugate gradients": CONJUGATE, "logdet": LOGDET}
