"""Cases of gates, and of modules that read tokens or queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from retconv import kernels, masks
from retconv.attention import PLACEMENTS, attend
from retconv.grid import Grid
from retconv.masks import Forms
from retconv.retention import chunkwise, recurrent, retention
from retconv.retention.functional import methods
from tests.public.case import HEADS, SHAPE, SIZE, Case, normal, of, positive, qkv


def gates() -> Iterator[tuple[str, Case]]:
    """Gates are given as positive numbers, minus their logarithms."""
    line, plane = positive(17, 2, HEADS, SIZE), (positive(18, HEADS, SIZE), positive(19, HEADS, SIZE))
    yield "Gates", Case(lambda x: kernels.Gates(-x).entries(Grid(SIZE)), (line,))
    yield "PolylineGates", Case(lambda a, b: kernels.PolylineGates((-a, -b), both=True).entries(Grid(SHAPE)), plane)
    for side in ("causal", "two-sided"):
        for method in methods(Forms.of(kernels.Gates(-line, side == "causal"), Grid(SIZE))):
            run = of(_retained, side == "causal", method)
            yield f"retention {method} of {side} gates", Case(run, (line, *qkv()), roundings=2)
    for name, form in {"recurrent": recurrent, "chunkwise": chunkwise}.items():
        yield f"{name} of gates from a state", Case(of(_gated, form), (line, *qkv()), roundings=2)
    for name in (
        *(f"{placement} of gates by reference" for placement in PLACEMENTS),
        "bias_logits of gates by recompute",
    ):
        run = of(_attended, name.split()[0], name.split()[-1])
        yield name, Case(run, (line, *qkv()), roundings=16)


def reading() -> Iterator[tuple[str, Case]]:
    """Modules that read tokens or queries."""
    torch.manual_seed(0)
    x, q, grid = normal(20, 2, SIZE, 4), qkv()[0], Grid(SHAPE)
    modules = {masks.ForgetGate(4, HEADS): Grid(SIZE), masks.SSDGate(4, HEADS): Grid(SIZE)}
    modules |= {masks.PolylineGate(4, HEADS): grid, masks.SpatialDecay(4, HEADS): grid, masks.LocAt(4, grid): grid}
    for module, on in modules.items():
        run = of(lambda m, x, on: Forms.of(m(x, on), on).entries, on)
        tokens = q if isinstance(module, masks.LocAt) else x
        yield f"mask read by {type(module).__name__}", Case(run, (module.double(), tokens), roundings=16)
    line = qkv(SIZE, HEADS)
    run = of(lambda m, x, q, k, v: attend(q, k, v, m(x, SIZE), SIZE, placement="bias_logits", backend="reference"))
    yield "bias_logits of a forget gate by reference", Case(run, (masks.ForgetGate(4, HEADS).double(), x, *line), 32)
    centre, width = normal(21, HEADS, SIZE, 2), positive(22, HEADS, SIZE, 2) / 4
    yield "QueryGaussian", Case(lambda m, p: kernels.QueryGaussian(m, p).entries(grid), (centre, width), roundings=4)


def _retained(x: Tensor, q: Tensor, k: Tensor, v: Tensor, causal: bool, method: str) -> Tensor:
    return retention(q, k, v, kernels.Gates(-x, causal), SIZE, method=method, chunk=4)


def _attended(x: Tensor, q: Tensor, k: Tensor, v: Tensor, placement: str, backend: str) -> Tensor:
    return attend(q, k, v, kernels.Gates(-x), SIZE, placement=placement, backend=backend)


def _gated(x: Tensor, q: Tensor, k: Tensor, v: Tensor, form: Callable[..., Any]) -> Tensor:
    parts = [[t[:, :, at] for t in (q, k, v)] for at in (slice(7), slice(7, None))]
    first, state = form(*parts[0], kernels.Gates(-x[..., :7]))
    return torch.cat([first, form(*parts[1], kernels.Gates(-x[..., 7:]), state)[0]], dim=2)


def cases() -> Iterator[tuple[str, Case]]:
    yield from gates()
    yield from reading()
