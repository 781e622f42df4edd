"""Every form of retention against loops over tokens, on every kind of mask, grid and dtype."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retconv.bench.timing import peak_bytes
from retconv.grid import Grid
from retconv.kernels import Separable
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, MaskLike, RetNetMask
from retconv.memory import dense_limit
from retconv.retention import METHODS, form_cost, retention
from retconv.retention.functional import methods
from tests import naive
from tests.compare import assert_close
from tests.retention import naive as naive_retention
from tests.retention.cases import (
    KEY,
    by_loops,
    check_against_loops,
    inputs,
    table,
    two_sided,
)
from tests.strategies import HEADS, SHAPES, every_grid, kernel_of, normal, seeds


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("recurrent", "chunkwise")])
@settings(max_examples=12)
@every_grid
def test_form_agrees_with_loops(shape: tuple[int, ...], seed: int, method: str, dtype: torch.dtype) -> None:
    check_against_loops(shape, seed, method, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", ["recurrent", "chunkwise"])
@settings(max_examples=12)
@given(size=st.integers(1, 20), seed=seeds)
def test_causal_form_agrees_with_loops(size: int, seed: int, method: str, dtype: torch.dtype) -> None:
    check_against_loops((size,), seed, method, dtype)


@settings(max_examples=20)
@given(size=st.integers(1, 20), seed=seeds)
def test_exponentials_kernel_is_their_sum(size: int, seed: int) -> None:
    """The table that the dense forms read is the loop's."""
    line = two_sided(seed)
    for head in range(HEADS):
        past, future = (
            list(zip(w[head].tolist(), p[head].tolist(), strict=True))
            for w, p in ((line.past_weights, line.past_poles), (line.future_weights, line.future_poles))
        )
        expected = naive.kernel(lambda offset, p=past, f=future: naive_retention.exponentials(offset[0], p, f), (size,))
        assert_close(line.kernel(size)[head], expected)


def masks_on(shape: tuple[int, ...]) -> dict[str, MaskLike]:
    """Every kind of source that a grid admits, in float64."""
    found: dict[str, MaskLike] = {
        "table": kernel_of(shape, 0),
        "one head": kernel_of(shape, 1, heads=1),
        "gmm": GaussianMixtureMask(HEADS, generator=torch.Generator().manual_seed(0)).double(),
        "decay": DecayMask(HEADS).double(),
        "euclidean": DecayMask(HEADS, metric="euclidean").double(),
    }
    found["separable"] = found["gmm"].separable(Grid(shape))
    found["separable decay"] = found["decay"].separable(Grid(shape))
    if len(shape) == 1:
        found |= {"retnet": RetNetMask(HEADS).double(), "exponentials": two_sided(3)}
        found["separable retnet"] = found["retnet"].separable(Grid(shape))
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_all_sources_and_forms_agree(shape: tuple[int, ...]) -> None:
    """Modules, tables, outer products and exponentials, one head for all or each its own."""
    grid = Grid(shape)
    q, k, v = inputs(grid.size, 5)
    for mask in masks_on(shape).values():
        expected = retention(q, k, v, mask, grid, method="parallel").detach()
        for method in ("auto", *methods(Forms.of(mask, grid))):
            assert_close(retention(q, k, v, mask, grid, method=method).detach(), expected)


@pytest.mark.parametrize("shape", [(7,), (3, 5)])
def test_default_scale_is_one_over_root_d(shape: tuple[int, ...]) -> None:
    q, k, v = inputs(math.prod(shape), 0)
    mask = kernel_of(shape, 0)
    assert_close(retention(q, k, v, mask, shape), by_loops(q, k, v, table(mask, shape), 1 / math.sqrt(KEY)))


def test_a_separable_is_its_kernel() -> None:
    """Outer products without gamma are run as such."""
    factors = Separable(tuple(normal(i, HEADS, 3, 2 * n - 1) for i, n in enumerate((4, 5))))
    q, k, v = inputs(20, 2)
    expected = retention(q, k, v, factors.kernel(), (4, 5), method="parallel")
    assert "scan" not in methods(Forms.of(factors, Grid((4, 5))))
    assert_close(retention(q, k, v, factors, (4, 5), method="convolution"), expected)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "parallel"])
def test_memory_is_linear_in_length(method: str) -> None:
    """Four times the tokens take at most 4.5 times the memory, and far less than one dense object."""
    causal = method in ("recurrent", "chunkwise")
    peaks = []
    for side in (32, 64):
        grid = Grid(side**2) if causal else Grid((side, side))
        mask = RetNetMask(1) if causal else DecayMask(1)
        q, k, v = torch.randn(3, 1, 1, grid.size, 2)
        with torch.no_grad(), dense_limit(side**4 * 4 - 1):
            peaks.append(peak_bytes(lambda: retention(q, k, v, mask, grid, method=method, budget=2**20)))  # noqa: B023
    assert peaks[1] <= 4.5 * peaks[0] or peaks[1] <= 2**22
    assert peaks[1] < 64**4 * 4 / 4


@pytest.mark.parametrize("budget", [2**18, 2**20])
def test_fft_keeps_to_its_budget(budget: int) -> None:
    """Beyond result, scaled q and spectrum, law 14 holds no more than the budget at once."""
    grid, heads, d = Grid((16, 16)), 2, 8
    q, k, v = torch.randn(3, 1, heads, grid.size, d)
    kernel = torch.randn(heads, *grid.kernel_shape)
    with torch.no_grad():
        peak = peak_bytes(lambda: retention(q, k, v, kernel, grid, method="fft", budget=budget))
    spectrum = heads * 31 * 32 * 4 * 4
    assert peak <= budget + 3 * q.nbytes + spectrum


def test_auto_takes_no_quadratic_memory() -> None:
    """4,096 tokens of 12 heads would be 800 MB of scores."""
    q, k, v = torch.randn(3, 1, 12, 4096, 1)
    for mask, shape in ((RetNetMask(12), (4096,)), (DecayMask(12), (64, 64))):
        with torch.no_grad():
            assert peak_bytes(lambda: retention(q, k, v, mask, shape)) < 2**27  # noqa: B023


@pytest.mark.parametrize("d", [1, 8, 64])
@pytest.mark.parametrize("shape", [(8,), (300,), (5000,), (3, 4), (8, 8), (20, 20), (64, 64)])
def test_auto_is_the_form_with_the_least_estimate(shape: tuple[int, ...], d: int) -> None:
    """Of all forms, those that it has no need to estimate among them."""
    q = torch.empty(2, HEADS, math.prod(shape), d, device="meta")
    for mask in masks_on(shape).values():
        forms = Forms.of(mask, Grid(shape))
        names = [name for name in methods(forms) if name != "recurrent"]
        estimates = [form_cost.seconds(name, q, q, forms) for name in names]
        assert form_cost.choose(q, q, forms, methods(forms)) == names[estimates.index(min(estimates))]


def test_few_tokens_ask_for_no_factors() -> None:
    forms = Forms.of(GaussianMixtureMask(HEADS), Grid((8, 8)))
    q = torch.empty(64, HEADS, 64, 64, device="meta")
    assert form_cost.choose(q, q, forms, methods(forms)) == "parallel"
    assert "factors" not in forms._cache


def test_parallel_vmap_over_kernels() -> None:
    """``torch.func.vmap`` over masks of the same queries, keys and values is retention with each."""
    q, k, v = (normal(i, 2, HEADS, 15, 4) for i in range(3))
    kernels = torch.stack([kernel_of((3, 5), seed) for seed in range(3)])

    def outcome(kernel: Tensor) -> Tensor:
        return retention(q, k, v, kernel, (3, 5), method="parallel")

    assert_close(torch.func.vmap(outcome)(kernels), torch.stack([outcome(kernel) for kernel in kernels]))
