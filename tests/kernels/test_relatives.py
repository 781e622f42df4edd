"""Biases and windows with parameters of their own shapes, each against its loop."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from retconv import kernels
from retconv.grid import Grid
from retconv.masks import WindowMask
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.kernels import naive_relatives
from tests.strategies import DTYPES, HEADS, every_grid, normal, on_grids, uniform

UNITS = 5


def table_of(loop: Any, shape: tuple[int, ...]) -> list[list[float]]:
    """A loop of head and offset as a kernel of each head."""
    return [naive.kernel(lambda d, h=h: loop(h, d), shape) for h in range(HEADS)]


def swin_weights(seed: int, axes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    return (
        normal(seed, UNITS, axes, dtype=dtype),
        normal(seed + 1, UNITS, dtype=dtype),
        normal(seed + 2, HEADS, UNITS, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_rotary(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """K[δ] = (1/P) Σ_j cos(θ_j · δ)."""
    angles = normal(seed, HEADS, 3, len(shape), dtype=dtype)
    actual = kernels.rotary(Grid(shape).offsets(), angles)
    assert actual.dtype == dtype
    assert_close(actual.flatten(1), table_of(lambda h, d: naive_relatives.rotary(d, angles[h].tolist()), shape))


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_field_of_view(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """−m ‖δ‖ on one side of every half-plane, −∞ elsewhere; the query itself is always seen."""
    planes, slope = normal(seed, HEADS, 2, len(shape)).round(), uniform(seed, 0.1, 2.0, HEADS, dtype=dtype)
    actual = kernels.field_of_view(Grid(shape).offsets(), slope, planes.to(dtype))
    loop = table_of(
        lambda h, d: naive_relatives.field_of_view(d, float(slope[h]), planes[h].tolist()),
        shape,
    )
    expected = torch.tensor(loop, dtype=torch.float64)
    assert torch.equal(actual.flatten(1).isinf(), expected.isinf())
    assert_close(actual.flatten(1).masked_fill(expected.isinf(), 0), expected.masked_fill(expected.isinf(), 0))


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_swin_v2(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """16 σ(W_2 relu(W_1 c(δ) + b)), scaled by the window or by that of pre-training."""
    weights = swin_weights(seed, len(shape), dtype)
    hidden, shift, out = (w.tolist() for w in weights)
    for trained in (None, tuple(n + 3 for n in shape)):
        actual = kernels.swin_v2(Grid(shape).offsets(), *weights, window=shape, trained=trained)
        assert actual.dtype == dtype
        sides = trained or shape
        loop = table_of(lambda h, d, s=sides: naive_relatives.swin_v2(d, hidden, shift, out[h], s), shape)
        assert_close(actual.flatten(1), loop)


def test_gradients_of_what_has_weights() -> None:
    offset = Grid((3, 2)).offsets()
    weights = tuple(w.requires_grad_() for w in swin_weights(0, 2, torch.float64))
    assert torch.autograd.gradcheck(lambda *w: kernels.swin_v2(offset, *w, window=(3, 2)), weights)
    angles = normal(3, HEADS, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: kernels.rotary(offset, a), (angles,))
    slope = uniform(4, 0.1, 2.0, HEADS).requires_grad_()
    planes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
    biases = kernels.field_of_view(offset, slope, planes)
    (gradient,) = torch.autograd.grad(biases.exp().sum(), slope)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "reach"), [(32, 128), (4, 3), (8, 20), (32, 1000), (12, 41)])
def test_t5_bucket(buckets: int, reach: int, causal: bool) -> None:
    """Every offset to beyond the reach has the bucket of the paper's formula."""
    far = reach + 40
    offset = torch.arange(-far, far + 1)[:, None]
    expected = [naive_relatives.t5_bucket((d,), buckets, reach, causal) for d in range(-far, far + 1)]
    assert kernels.t5_bucket(offset, buckets, reach, causal).tolist() == expected


@on_grids((1,))
def test_t5_copies_entries(shape: tuple[int, ...], seed: int) -> None:
    """K[δ] = table[bucket(δ)], bit for bit, and each entry's gradient is the number of its offsets."""
    entries = normal(seed, 8, HEADS)
    table = entries.clone().requires_grad_()
    actual = kernels.t5(Grid(shape).offsets(), table, reach=20)
    rows = [naive_relatives.t5_bucket(d, 8, 20, False) for d in naive.offsets(shape)]
    assert_exact(actual.detach(), [[float(entries[row, h]) for row in rows] for h in range(HEADS)])
    (gradient,) = torch.autograd.grad(actual.sum(), table)
    assert_exact(gradient, [[float(rows.count(row))] * HEADS for row in range(8)])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 5), (14, 14)])
def test_beit_table(shape: tuple[int, int]) -> None:
    """Swin's rows, then those of the class token: its row, its column, and where they cross."""
    rows = (2 * shape[0] - 1) * (2 * shape[1] - 1)
    table = normal(0, rows + 3, HEADS)
    kernel, token = kernels.beit_table(table, Grid(shape, prefix=1))
    assert (table.shape[0] == 732) == (shape == (14, 14))
    assert_exact(kernel, kernels.swin_table(table[:rows], shape))
    assert token.tolist() == [[float(table[rows + i, h]) for i in range(3)] for h in range(HEADS)]


@pytest.mark.parametrize(("radius", "dilation"), [(0, 1), (1, 1), (2.5, 1), (1, 2), (2, 3)])
@every_grid
def test_window(shape: tuple[int, ...], seed: int, radius: float, dilation: int) -> None:
    """1 where max_d |δ_d| ≤ radius · dilation and dilation divides δ, else 0."""
    actual = kernels.window(Grid(shape).offsets(), radius, dilation)
    assert_exact(actual.flatten(), naive.kernel(lambda d: naive_relatives.window(d, radius, dilation), shape))


def test_a_window_has_the_places_between_tokens() -> None:
    """As keys pooled in pairs lie; a function and a mask are one."""
    offset = torch.tensor([[0.5], [1.0], [-1.5], [0.0]])
    assert_exact(kernels.window(offset, 1), torch.tensor([[1.0, 1.0, 0.0, 1.0]]))
    assert_exact(kernels.window(offset, 1), WindowMask(1, 1).at(offset))


@pytest.mark.parametrize("size", [1, 2, 4])
@on_grids((1,))
def test_windows_on_lines(shape: tuple[int, ...], seed: int, size: int) -> None:
    offset = Grid(shape).offsets()
    for function, loop in (
        (kernels.causal_window, naive_relatives.causal_window),
        (kernels.strided_window, naive_relatives.strided_window),
    ):
        assert_exact(function(offset, size).flatten(), naive.kernel(lambda d, f=loop: f(d, size), shape))
        heads = function(offset, torch.tensor([size, size + 1]))
        assert_exact(heads[1], naive.kernel(lambda d, f=loop: f(d, size + 1), shape))


@pytest.mark.parametrize("heads", [*range(1, 18), 24, 32])
def test_slopes(heads: int) -> None:
    """2^(−8h/H) at powers of two; else those of the power below, then the odd ones of the power above."""
    power = max(2**i for i in range(6) if 2**i <= heads)
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    slopes += [2 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    actual = kernels.slopes("alibi", heads)
    assert actual.dtype == torch.float64
    assert_close(actual, slopes[:heads])
    formula = kernels.slopes("alibi_formula", heads)
    assert_close(formula, [2 ** (-8 * h / heads) for h in range(1, heads + 1)])
    assert torch.equal(actual, formula) == math.log2(heads).is_integer()
