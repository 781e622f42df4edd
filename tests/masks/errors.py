"""Errors of masks in the forms that they are given in."""

import torch

import retconv
from retconv import kernels
from retconv.masks import DecayMask, Forms
from tests.error_table import Error


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


FORMS: dict[str, Error] = {
    "no part": (lambda: retconv.atention, AttributeError, "module 'retconv' has no attribute 'atention'"),
    "decay of a number": (lambda: kernels.Decay(0.9), ValueError, r"gamma must be \(heads,\), got 0.9"),
    "a kernel of entries that are learnt": (
        lambda: retconv.operator(retconv.ElementwiseMask(2, 1, start="ones"), 2),
        ValueError,
        "takes their whole gradient to one pair of tokens .*: compute mask.grid. @ x where entries are learnt, learn a",
    ),
    "gamma of components": (
        lambda: kernels.Decay(ones(2, 1)),
        ValueError,
        r"gamma must be \(heads,\), got shape \(2, 1\)",
    ),
    "causal decay beyond a line": (
        lambda: Forms.of(kernels.Decay(ones(2), causal=True), (3, 4)),
        ValueError,
        r"on one axis, got Grid\(\(3, 4\)\): use Grid\(12\)",
    ),
    "forms of another grid": (
        lambda: Forms.of(DecayMask(2).forms((3, 4)), 5),
        ValueError,
        r"of Grid\(\(3, 4\)\), not of Grid\(\(5,\)\)",
    ),
    "no mask": (
        lambda: Forms.of("gmm", 5),
        TypeError,
        "expected a mask module, a tensor, or kernels.Decay, .*, got str",
    ),  # type: ignore[arg-type]
}

EXPONENTIALS: dict[str, Error] = {
    "one side": (
        lambda: kernels.Exponentials(ones(1, 2), ones(1, 2), ones(1, 2)),
        ValueError,
        "both future_weights and future_poles",
    ),
    "shapes": (
        lambda: kernels.Exponentials(ones(1, 2), ones(1, 3)),
        ValueError,
        r"\(heads, order\), got past \(1, 2\) and \(1, 3\)",
    ),
    "unstable": (
        lambda: kernels.Exponentials(ones(1, 2), 1.5 * ones(1, 2)),
        ValueError,
        "past poles must lie in the unit circle, got one of modulus 1.5",
    ),
}

TABLES = {"forms": FORMS, "exponentials": EXPONENTIALS}
