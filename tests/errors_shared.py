"""What is no tensor, no grid or not finite is refused by name at every door, and so are tracers that keep sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import retconv
from retconv import attention, kernels, retention
from retconv.analysis import describe, effective
from retconv.atlas import verdict
from retconv.grid import Grid
from retconv.masks import DecayMask
from retconv.memory import DenseLimitError
from tests.error_table import Error

DECAY, ARRAY = DecayMask(1, gamma=0.5), np.ones((1, 4, 4))
TOKENS = torch.ones(1, 1, 4, 2)
OPERATOR = retconv.operator(DECAY, 4)
NAN = torch.ones(1, 4, 4)
NAN[0, 1, 2] = NAN[0, 3, 3] = torch.nan
#: What takes a mask or kernel as its first argument and a grid as its second.
ON_GRIDS: dict[str, Callable[[Any, Any], object]] = {
    "bank_to_mask": retconv.bank_to_mask,
    "crop": retconv.crop,
    "extend": retconv.extend,
    "resize": retconv.resize,
    "kernel_to_conv": retconv.kernel_to_conv,
    "kernel_to_mask": retconv.kernel_to_mask,
    "mask_to_bank": retconv.mask_to_bank,
    "mask_to_kernel": retconv.mask_to_kernel,
    "project": retconv.project,
    "unroll": retconv.unroll,
    "windows": retconv.windows,
    "wrap": retconv.wrap,
    "operator": retconv.operator,
    "shift_invariance_residual": retconv.checks.shift_invariance_residual,
    "describe": describe,
    "verdict": verdict,
    "effective_kernel": effective.effective_kernel,
    "attend": lambda mask, grid: attention.attend(TOKENS, TOKENS, TOKENS, mask, grid, placement="bias_logits"),
    "retention": lambda mask, grid: retention.retention(TOKENS, TOKENS, TOKENS, mask, grid),
}


def of_array(call: Callable[[Any, Any], object]) -> Callable[[], object]:
    return lambda: call(ARRAY, 4)


def of_text(call: Callable[[Any, Any], object]) -> Callable[[], object]:
    return lambda: call(torch.ones(1, 4, 4), "4")


def of_nan(call: Callable[[Any, Any], object]) -> Callable[[], object]:
    return lambda: call(NAN, 4)


ARRAYS: dict[str, Error] = {
    name: (of_array(call), TypeError, r"must be a torch\.Tensor, got ndarray: pass torch\.from_numpy\(")
    for name, call in ON_GRIDS.items()
} | {
    name: (call, TypeError, rf"{what} must be a torch\.Tensor, got ndarray: pass torch\.from_numpy\({what}\)")
    for name, what, call in (
        ("tokens of an operator", "x", lambda: retconv.operator(DECAY, 4) @ np.ones((4, 2))),  # type: ignore[operator]
        ("queries of attention", "q", lambda: attention.attend(ARRAY, TOKENS, TOKENS, DECAY, 4, placement="retention")),  # type: ignore[arg-type]
        ("queries of retention", "q", lambda: retention.retention(ARRAY, TOKENS, TOKENS, DECAY, 4)),  # type: ignore[arg-type]
        ("offsets", "offset", lambda: kernels.gaussian(ARRAY, 1.0)),  # type: ignore[arg-type]
        ("a parameter", "sigma", lambda: kernels.gaussian(Grid(4).offsets(), np.ones(2))),  # type: ignore[arg-type]
    )
}
GRIDS: dict[str, Error] = (
    {
        f"a text as the grid of {name}": (of_text(call), TypeError, r"expected a Grid, .* got '4': .*Grid\.parse")
        for name, call in ON_GRIDS.items()
    }
    | {
        f"a grid as the offsets of {form.__name__}": (
            lambda form=form: form(Grid(64), 1.0),  # type: ignore[misc]
            TypeError,
            r"offset must be a torch\.Tensor, got Grid: pass grid\.offsets\(\)",
        )
        for form in (kernels.alibi, kernels.gaussian, kernels.causal_decay, kernels.window, kernels.gpsa)
    }
    | {
        "a class token": (
            lambda: retconv.mask_to_kernel(torch.ones(1, 65, 65), 64),
            ValueError,
            r"got shape \(1, 65, 65\): a class token .* use Grid\(\(64,\), prefix=1\)",
        ),
        "a class token of what may be a kernel": (
            lambda: retconv.operator(torch.ones(1, 65, 65), (8, 8)),
            ValueError,
            r"a class token .* use Grid\(\(8, 8\), prefix=1\)",
        ),
        "no class token": (
            lambda: retconv.project(torch.ones(1, 64, 64), Grid((8, 8), prefix=1)),
            ValueError,
            r"it has no prefix tokens, use grid\.without_prefix\(\)",
        ),
        "a kernel beyond memory": (
            lambda: describe(DecayMask(1, "manhattan", 0.9), (100_000, 100_000)),
            DenseLimitError,
            r"offsets of Grid\(\(100000, 100000\)\).*above the limit of 4\.00 GiB",
        ),
    }
)
FINITE: dict[str, Error] = {
    name: (of_nan(ON_GRIDS[name]), ValueError, r"must be finite .*, got 2 of 16 .* first nan at \[0, 1, 2\]")
    for name in ("mask_to_kernel", "project", "shift_invariance_residual", "describe", "verdict")
}
TRACED: dict[str, Error] = {
    "a mask by torch.jit": (
        lambda: torch.jit.trace(lambda x: DECAY(4) @ x, torch.ones(4, 2)),
        ValueError,
        r"a mask on a grid is not for torch\.jit\.trace.* use torch\.export or torch\.compile",
    ),
    "an operator by torch.jit": (
        lambda: torch.jit.trace(lambda x: OPERATOR @ x, torch.ones(4, 2)),
        ValueError,
        r"the operator of a mask is not for torch\.jit\.trace",
    ),
}
TABLES = {"arrays": ARRAYS, "grids": GRIDS, "finite": FINITE, "traced": TRACED}
