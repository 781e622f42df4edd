"""Attention in blocks is the reference, however scores are cut, shared out and taken by tiles."""

from collections.abc import Iterable
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from retconv.attention import attend, multiply_logits, rows
from retconv.attention.cuts import Block, Cuts, Plan
from retconv.checks import relative_error, tolerance
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import RetNetMask
from tests.attention.cases import SOFTMAX, gradients, kernel_for, qkv
from tests.attention.cuts import (
    CUTS,
    F64,
    check_against_reference,
    check_hidden_rows,
    every_cut,
    every_recomputed,
    set_cut,
    set_products,
)
from tests.compare import assert_close, assert_exact
from tests.strategies import HEADS, every_grid, kernel_of


@every_cut
@every_recomputed
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@every_grid
def test_blocks_are_the_reference(
    shape: tuple[int, ...], seed: int, placement: str, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output and gradients in q, k, v, mask and bias, however the scores are cut and shared out."""
    set_cut(monkeypatch, cut, threads=1 + seed % 3)
    check_against_reference(placement, "recompute", shape, seed, F64)


@every_recomputed
def test_gradcheck_of_blocks(placement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cut(monkeypatch, "rows")
    grid = Grid((2, 3), prefix=1)
    q, k, v = (x.requires_grad_() for x in qkv(grid, 3))
    kernel = kernel_for(placement, grid.shape, 3).requires_grad_()
    run = partial(attend, placement=placement)
    assert torch.autograd.gradcheck(lambda *x: run(*x, grid, backend="recompute"), (q, k, v, kernel))


@every_cut
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_slabs_of_several_rows_are_the_reference(cut: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several slabs for each thread, and several rows in each."""
    set_cut(monkeypatch, cut, threads)
    check_against_reference("multiply_logits", "recompute", (12, 2), 3, F64)


@every_cut
def test_hidden_keys_keep_gradients_finite_in_blocks(cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may have all keys of a tile hidden."""
    set_cut(monkeypatch, cut)
    grid = Grid(9)
    leaves = dict(zip("qkv", qkv(grid, 10), strict=True)) | {"mask": RetNetMask(HEADS, gamma=0.7).double().kernel(grid)}
    fast, exact = (
        gradients("bias_logits", leaves, grid, leaves["v"], backend=backend) for backend in ("recompute", "reference")
    )
    for actual, expected in zip(fast, exact, strict=True):
        assert_close(actual, expected)


@every_cut
@pytest.mark.parametrize("placement", SOFTMAX)
@pytest.mark.parametrize("by", ["bias", "mask"])
def test_rows_without_any_key_are_0_in_blocks(
    by: str, placement: str, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in fused attention, with finite gradients; other rows are what they are without those."""
    set_cut(monkeypatch, cut)
    check_hidden_rows(placement, "recompute", by)


@pytest.mark.parametrize("shift", [0.0, -1e9, torch.finfo(torch.float32).min])
def test_tiles_of_rows_with_a_large_common_logit_have_the_reference_gradients(
    shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As padding makes them; next to it the logarithm of a sum over keys would be rounded away."""
    set_cut(monkeypatch, "rows by tiles")
    grid = Grid(9)
    leaves = dict(zip("qkv", qkv(grid, 11, torch.float32), strict=True)) | {"mask": kernel_of((9,), 11).float()}
    leaves["bias"] = torch.zeros(1, 1, 9, 9)
    leaves["bias"][..., 5:, :] = shift
    fast, exact = (
        gradients("multiply_logits", leaves, grid, leaves["v"], backend=backend)
        for backend in ("recompute", "reference")
    )
    for actual, expected in zip(fast, exact, strict=True):
        assert_close(actual, expected)


def test_prefix_tokens_may_fill_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in CUTS:
        set_cut(monkeypatch, cut)
        grid = Grid((1,), prefix=8)
        leaves = dict(zip("qkv", qkv(grid, 12), strict=True)) | {"mask": kernel_of((1,), 12)}
        fast, exact = (
            gradients("multiply_logits", leaves, grid, leaves["v"], backend=b) for b in ("recompute", "reference")
        )
        for actual, expected in zip(fast, exact, strict=True):
            assert_close(actual, expected)


@pytest.mark.parametrize("placement", SOFTMAX)
def test_tiles_cost_half_types_no_precision(placement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a kernel in float32 is that of whole rows, to the precision of float32."""
    grid = Grid((4, 5), prefix=1)
    leaves = dict(zip("qkv", (x.to(torch.bfloat16) for x in qkv(grid, 13)), strict=True))
    leaves["mask"] = kernel_for(placement, grid.shape, 13).float()
    set_products(monkeypatch, half=False)
    found = []
    for cut in ("runs", "runs by tiles"):
        set_cut(monkeypatch, cut)
        found.append(gradients(placement, leaves, grid, leaves["v"], backend="recompute")[-1])
    assert found[0].dtype == torch.float32
    assert_close(found[1], found[0])


@every_cut
@every_recomputed
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_products_of_half_types_are_as_exact_as_the_plain_formula(
    placement: str, dtype: torch.dtype, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output and every gradient: beside float64, at most the plain formula's error in the same type and two roundings.

    Both round each product; blocks keep softmax and sums in float32.
    """
    set_cut(monkeypatch, cut)
    set_products(monkeypatch, half=True)
    grid = Grid((4, 5), prefix=1)
    leaves = dict(zip("qkv", (x.to(dtype) for x in qkv(grid, 17)), strict=True))
    leaves["mask"] = kernel_for(placement, grid.shape, 17).to(dtype)
    ours, plain = (
        gradients(placement, leaves, grid, leaves["v"], backend=backend) for backend in ("recompute", "reference")
    )
    exact = {name: x.double() for name, x in leaves.items()}
    exact_ones = gradients(placement, exact, grid, exact["v"], backend="reference")
    for actual, other, expected in zip(ours, plain, exact_ones, strict=True):
        assert actual.dtype == dtype
        assert relative_error(actual, expected) <= relative_error(other, expected) + 2 * tolerance(dtype)


def test_an_empty_batch_has_an_empty_result() -> None:
    for size in (6, 1200):
        q = torch.zeros(0, HEADS, size, 4)
        assert (
            multiply_logits(q, q, q, torch.ones(HEADS, 2 * size - 1), Grid(size), backend="recompute").shape == q.shape
        )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 50, 1000], ids=["parts of a slab", "some slabs", "all slabs"])
@pytest.mark.parametrize("shape", [(7,), (1, 6), (3, 5), (5, 3), (2, 3, 4)])
def test_runs_hold_every_row_of_the_mask(shape: tuple[int, ...], size: int, threads: int) -> None:
    """Bit for bit, tile by tile; and the table is smaller than the mask by about n_1 / 2."""
    kernel, grid = kernel_of(shape, 5), Grid(shape, prefix=2)
    cuts = Cuts(size, smaller=1, long=1, tile=5, threads=threads)
    plan = Plan(torch.empty(1, HEADS, grid.length, 1), cuts, backward=True)
    table = rows.TableRows(kernel, plan, shape, grid.prefix)
    read = torch.ones(HEADS, grid.length, grid.length, dtype=F64)
    for block in (block for group in table.groups() for block in group if block.first >= grid.prefix):
        for left, right in plan.tiles:
            keys = slice(max(left, grid.prefix), right)
            part = table.read(block, (left, right)).reshape(block.last - block.first, keys.stop - keys.start)
            read[block.start, block.first : block.last, keys] = part.flip(-1)
    assert_exact(read, kernel_to_mask(kernel, grid))
    assert rows.runs(kernel, shape)[0].numel() == (2 * shape[0] - 1) * (grid.size // shape[0]) ** 2


def count_rows(given: Iterable[Block], elements: int, length: int, limit: float) -> Tensor:
    """How often each row of each element is in a block."""
    count = torch.zeros(elements, length)
    for block in given:
        matrices, height = block.size
        assert matrices * height == (block.stop - block.start) * (block.last - block.first)
        assert matrices * height * length <= limit
        count[block.start : block.stop, block.first : block.last] += 1
    return count


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("heads", "batch", "length"), [(3, 5, 8), (2, 7, 64), (1, 1, 9), (12, 1, 16)])
def test_blocks_cover_every_score_once(heads: int, batch: int, length: int, threads: int) -> None:
    for limit in (1, 100, 700, 6000, 10**6):
        largest = 2 * threads * max(limit, length**2)
        plan = Plan(torch.empty(batch, heads, length, 1), Cuts(limit, threads=threads), backward=False)
        count = count_rows(plan.elements(length), heads * batch, length, largest)
        assert_exact(count, torch.ones(heads * batch, length))
        for step in (1, 2):
            last = length - length % step
            largest = 2 * threads * max(limit, step * length)
            count = count_rows(plan.rows(0, 0, last, step), 1, length, largest)
            assert_exact(count[0, :last], torch.ones(last))
            assert not bool(count[0, last:].any())


@pytest.mark.parametrize("length", [1, 64, 1024, 2047, 2048, 2049, 4096, 65536])
def test_tiles_cover_every_key_once(length: int) -> None:
    covered = Cuts().tiles(length)
    assert [left for left, _ in covered] == [0, *(right for _, right in covered[:-1])]
    assert covered[-1][1] == length
    assert length < Cuts().long or all(0 < right - left <= 2 * Cuts().tile for left, right in covered)
