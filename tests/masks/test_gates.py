"""Modules that read tokens and queries, against loops over tokens."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from retconv.attention import attend
from retconv.grid import Grid
from retconv.masks import ForgetGate, Forms, LocAt, PolylineGate, SpatialDecay, SSDGate
from retconv.retention import retention
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.masks import naive_gates
from tests.strategies import HEADS, normal, on_grids

BATCH, DIM = 2, 6
lines, planes = on_grids((1,)), on_grids((2,))


def filled(module: nn.Module, seed: int) -> nn.Module:
    """In float64, its parameters drawn; steps and rates stay moderate."""
    module = module.double()
    for i, parameter in enumerate(module.parameters()):
        parameter.data = normal(seed + i, *parameter.shape)
    return module


def logits(module: nn.Module, x: Tensor) -> list[list[list[float]]]:
    """Of each element and token, all outputs."""
    weight, bias = module.project.weight.tolist(), module.project.bias
    biases = [0.0] * len(weight) if bias is None else bias.tolist()
    return [
        [[naive_gates.linear(t, w, b) for w, b in zip(weight, biases, strict=True)] for t in element]
        for element in x.tolist()
    ]


@settings(max_examples=8)
@lines
def test_fox_and_mamba_2(shape: tuple[int], seed: int) -> None:
    """With a prefix token, which makes no gate."""
    grid, x = Grid(shape, prefix=1), 5 * normal(seed, BATCH, shape[0] + 1, DIM)
    fox, ssd = filled(ForgetGate(DIM, HEADS), seed), filled(SSDGate(DIM, HEADS), seed)
    rows = [[[naive_gates.log_sigmoid(z[h]) for z in element[1:]] for h in range(HEADS)] for element in logits(fox, x)]
    assert_close(fox(x, grid).log_gamma, rows)
    bias, rate = ssd.step_bias.tolist(), ssd.log_rate.tolist()
    rows = [
        [[naive_gates.step_gate(z[h], bias[h], rate[h]) for z in element[1:]] for h in range(HEADS)]
        for element in logits(ssd, x)
    ]
    assert_close(ssd(x, grid).log_gamma, rows)
    assert fox(x, grid).causal
    assert ssd(x, grid).causal


@settings(max_examples=8)
@planes
def test_ppma(shape: tuple[int, ...], seed: int) -> None:
    """Each head reads its own features by the same map; the first output is of the last axis."""
    size = math.prod(shape)
    x, module = normal(seed, BATCH, size, DIM), filled(PolylineGate(DIM, HEADS), seed)
    gates = module(x, shape)
    bias, rate, part = module.step_bias.tolist(), module.log_rate.tolist(), DIM // HEADS
    for axis, log_gamma in enumerate(reversed(gates.log_gammas)):
        rows = [
            [
                [
                    naive_gates.step_gate(
                        naive_gates.linear(t[h * part : (h + 1) * part], module.project.weight[axis].tolist()),
                        bias[h],
                        rate[h],
                    )
                    for t in element
                ]
                for h in range(HEADS)
            ]
            for element in x.tolist()
        ]
        assert_close(log_gamma, rows)
    assert gates.both


@settings(max_examples=8)
@planes
def test_sdt_and_locat(shape: tuple[int, ...], seed: int) -> None:
    """On the grid of their start and on another, where LocAt's widths grow with the shortest axis."""
    places, size = naive.positions(shape), math.prod(shape)
    x, sdt = normal(seed, BATCH, size, DIM), filled(SpatialDecay(DIM, HEADS, alpha=1.3), seed)
    log = Forms.of(sdt(x, shape), Grid(shape)).log.entries
    expected = [
        [naive_gates.spatial_decay([naive_gates.log_sigmoid(z[h]) for z in e], places, 1.3) for h in range(HEADS)]
        for e in logits(sdt, x)
    ]
    assert_close(log, expected)
    assert_close(sdt(x, shape).entries, log.exp())
    start, q = (2, 3), normal(seed + 1, BATCH, HEADS, size, 3)
    locat = filled(LocAt(3, start), seed)
    rows = [naive_gates.locat(z, places, 3, min(shape) / 2, 0.1) for element in q for z in logits(locat, element)]
    assert_close(locat(q, shape).log_entries(Grid(shape)).flatten(0, 1), rows)


def test_starts_are_those_of_the_sources() -> None:
    """Steps in [0.001, 0.1], rates in [1, 16] or [1, 1.1]; LocAt starts at one squared token."""
    torch.manual_seed(0)
    for module, largest in ((SSDGate(4, 500), 16.0), (PolylineGate(1000, 500), 1.1)):
        step = nn.functional.softplus(module.step_bias.detach().double())
        assert 0.00099 < float(step.min()) < 0.0015
        assert 0.07 < float(step.max()) < 0.1001
        assert float(module.log_rate.detach().exp().min()) >= 1
        assert 0.95 * largest < float(module.log_rate.detach().exp().max()) <= largest
    locat = LocAt(3, (7, 7))
    nn.init.zeros_(locat.project.weight), nn.init.zeros_(locat.project.bias)
    gaussians = locat(torch.ones(1, 1, 49, 3), (7, 7))
    assert_close(gaussians.precision, torch.full((1, 1, 49, 2), 1 / 1.1))
    assert_close(gaussians.alpha, torch.full((1, 1, 49), math.log(2.0)))


@pytest.mark.parametrize("name", ["fox", "ssd", "ppma", "sdt", "locat"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_learns_what_they_hold(name: str, dtype: torch.dtype) -> None:
    """Every parameter has a gradient, also of a module that was cast to a half type; entries are float32 then."""
    torch.manual_seed(0)
    x, q = torch.randn(BATCH, 8, DIM, dtype=dtype), torch.randn(BATCH, HEADS, 8, 3, dtype=dtype)
    module, grid, placement = {
        "fox": (ForgetGate(DIM, HEADS), Grid(8), "bias_logits"),
        "ssd": (SSDGate(DIM, HEADS), Grid(8), "retention"),
        "ppma": (PolylineGate(DIM, HEADS), Grid((2, 4)), "multiply_weights"),
        "sdt": (SpatialDecay(DIM, HEADS), Grid((2, 4)), "bias_logits"),
        "locat": (LocAt(3, (2, 4)), Grid((2, 4)), "bias_logits"),
    }[name]
    module = module.to(dtype)
    mask = module(q if name == "locat" else x, grid)
    assert Forms.of(mask, grid).log.entries.dtype == torch.float32
    out = attend(q, q, q, mask, grid, placement=placement)
    assert out.dtype == dtype
    out.float().square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all() and p.grad.any()) for p in module.parameters())


def test_under_autocast_they_are_what_they_are_without() -> None:
    x, module = torch.randn(BATCH, 9, DIM), ForgetGate(DIM, HEADS)
    with torch.autocast("cpu", torch.bfloat16):
        inside = module(x, 9).log_gamma
    assert_exact(inside, module(x, 9).log_gamma)


def test_mamba_2_is_retention_with_its_gates() -> None:
    """The state recurrence of SSD, eq. (1): its values carry Δ, its mask does not."""
    x, module = normal(0, 1, 12, DIM), filled(SSDGate(DIM, HEADS), 0)
    q, k, v = (normal(i, 1, HEADS, 12, 3) for i in range(1, 4))
    gamma = module(x, 12).log_gamma.exp()
    state, rows = torch.zeros(1, HEADS, 3, 3, dtype=torch.float64), []
    for t in range(12):
        state = gamma[..., t, None, None] * state + k[:, :, t, :, None] * v[:, :, t, None]
        rows.append((q[:, :, t, None] @ state)[:, :, 0])
    assert_close(retention(q, k, v, module(x, 12), 12, method="chunkwise", chunk=5, scale=1.0), torch.stack(rows, 2))
