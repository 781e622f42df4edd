"""What the tests of fused kernels share: leaves of any size, and their check against the formula in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from retconv.attention import attend
from retconv.checks import relative_error, tolerance
from retconv.grid import Grid
from tests.attention.cases import kernel_for
from tests.compare import assert_close
from tests.masks.cases import MASKS, build
from tests.strategies import HEADS, normal

every_learnt_mask = pytest.mark.parametrize(
    "name", ["retnet, learnable", "manhattan, learnable", "euclidean", "gmm", "gmm, positive", "table"]
)


def inputs(
    placement: str, case: tuple[Any, ...], dtype: torch.dtype, device: str = "cpu", batch: int = 2
) -> dict[str, Tensor]:
    """Queries, keys and values of a dtype, and a kernel in float32 at least, which autograd watches."""
    shape, prefix, d, d_v, heads = case
    size = (batch, HEADS, Grid(shape, prefix).length)
    leaves = {name: normal(i, *size, n).to(dtype) for i, (name, n) in enumerate(zip("qkv", (d, d, d_v), strict=True))}
    leaves["mask"] = kernel_for(placement, shape, 3).to(torch.promote_types(dtype, torch.float32))[:heads]
    return {name: x.to(device).requires_grad_() for name, x in leaves.items()}


def results(placement: str, leaves: dict[str, Tensor], grid: Grid, upstream: Tensor, backend: str) -> list[Tensor]:
    """Output and gradients."""
    out = attend(*leaves.values(), grid, scale=0.3, placement=placement, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, list(leaves.values()), upstream.to(out))]


def check(placement: str, leaves: dict[str, Tensor], grid: Grid, backend: str) -> None:
    """Output and gradients are those of the formula in float64; of half types weights are rounded, and the result."""
    dtype = leaves["v"].dtype
    upstream = normal(9, *leaves["v"].shape).to(dtype)
    found = results(placement, leaves, grid, upstream, backend)
    exact = {name: x.detach().double().requires_grad_() for name, x in leaves.items()}
    expected = results(placement, exact, grid, upstream, "reference")
    for name, actual, one in zip(("out", *leaves), found, expected, strict=True):
        error, budget = relative_error(actual, one), tolerance(dtype) * (1 if dtype.itemsize > 2 else 2)
        assert actual.dtype == (leaves[name].dtype if name != "out" else dtype)
        assert error <= budget, f"{name}: {error:.2e} above {budget:.2e}"


def check_parameters(name: str, backend: str, device: str, dtype: torch.dtype) -> None:
    """A mask learns through its kernel; and through its logarithm, if there is one."""
    case = MASKS[name]
    grid = Grid(case.shapes[-1], prefix=1)
    mask = build(case, grid.without_prefix(), dtype).to(device)
    for placement in (
        ("multiply_logits", "bias_logits") if bool((mask.kernel(grid) >= 0).all()) else ("multiply_logits",)
    ):
        qkv = list(inputs(placement, (grid.shape, 1, 16, 16, 1), dtype, device).values())[:3]
        upstream = normal(9, *qkv[2].shape).to(device)
        found, expected = (
            torch.autograd.grad(
                attend(*(x.to(wide) for x in qkv), m, grid, placement=placement, backend=by),
                [*m.parameters()],
                upstream.to(wide),
            )
            for m, wide, by in ((mask, dtype, backend), (copy.deepcopy(mask).double(), torch.float64, "reference"))
        )
        for actual, one in zip(found, expected, strict=True):
            assert_close(actual, one)
