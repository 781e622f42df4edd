"""A one-sided kernel on a line reaches one side, and not the other by rounding either."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels import Exponentials
from retconv.operators import operator
from retconv.operators.one_sided import LEAF, OneSidedProduct, sides_of
from retconv.retention import retention
from tests.compare import assert_close, assert_exact
from tests.strategies import HEADS, kernel_of, normal, seeds, uniform


def one_sided(n: int, seed: int, side: str, dtype: torch.dtype = torch.float64) -> Tensor:
    kernel = kernel_of((n,), seed, dtype)
    kernel[:, n:] = 0
    return kernel if side == "past" else kernel.flip(1)


@pytest.mark.parametrize("side", ["past", "future"])
@settings(max_examples=15)
@given(n=st.integers(2, 20), seed=seeds)
@example(n=LEAF - 1, seed=0)
@example(n=LEAF, seed=1)
@example(n=LEAF + 1, seed=2)
@example(n=2 * LEAF, seed=3)
@example(n=5 * LEAF + 3, seed=4)
def test_it_is_the_mask(side: str, n: int, seed: int) -> None:
    """And its adjoint that of the other side."""
    kernel, x = one_sided(n, seed, side), normal(seed, 2, HEADS, n, 3)
    op, dense = operator(kernel, n, "fft"), operator(kernel, n, "dense")
    assert sides_of(kernel, Grid(n)) == [side] * HEADS
    assert_close(op @ x, dense @ x)
    assert_close(op.T @ x, dense.T @ x)
    x.requires_grad_()
    for ours, theirs in zip(
        torch.autograd.grad((op @ x).square().sum(), x), torch.autograd.grad((dense @ x).square().sum(), x), strict=True
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize("side", ["past", "future"])
@pytest.mark.parametrize("method", ["auto", "fft", "dense", "direct"])
def test_a_token_reaches_nothing_on_the_other_side(method: str, side: str) -> None:
    """Whatever its size: the bits of the others are those without it."""
    n, at = 1500, 850
    op, x = operator(one_sided(n, 0, side, torch.float32), n, method), normal(1, HEADS, n, 4, dtype=torch.float32)
    large = x.clone()
    large[:, at] = 1e10
    unseen = slice(0, at) if side == "past" else slice(at + 1, None)
    assert_exact((op @ large)[:, unseen], (op @ x)[:, unseen])


@pytest.mark.parametrize("method", ["auto", "fft", "dense", "direct"])
def test_a_head_is_one_sided_whatever_other_heads_are(method: str) -> None:
    """Beside one of the other side and one of both: in their order, and with the same adjoint."""
    n, at = 1500, 850
    heads = [kernel_of((n,), 7)[:1], one_sided(n, 8, "past")[:1], one_sided(n, 9, "future")[:1]]
    kernel, x = torch.cat([*heads, heads[1]]).float(), normal(1, 4, n, 4, dtype=torch.float32)
    op = operator(kernel, n, method)
    large = x.clone()
    large[:, at] = 1e10
    for head, unseen in ((1, slice(0, at)), (2, slice(at + 1, None)), (3, slice(0, at))):
        assert_exact((op @ large)[head, unseen], (op @ x)[head, unseen])
    dense = operator(kernel, n, "dense")
    for ours, theirs in ((op, dense), (op.T, dense.T)):
        for head, expected in zip(ours @ x, theirs @ x, strict=True):
            assert_close(head, expected)


@pytest.mark.parametrize("method", ["auto", "fft", "convolution", "tiled"])
def test_causal_retention_does_not_see_the_future(method: str) -> None:
    n, at = 700, 400
    line = Exponentials(normal(2, HEADS, 2), uniform(3, 0.5, 0.99, HEADS, 2))
    kernel = line.kernel(n).float()
    q, k, v = (normal(i, 1, HEADS, n, 4, dtype=torch.float32) for i in range(3))
    before = retention(q, k, v, kernel, n, method=method)
    k[:, :, at], v[:, :, at] = 1e5, 1e5
    assert_exact(retention(q, k, v, kernel, n, method=method)[:, :, :at], before[:, :, :at])


def test_a_kernel_that_is_learnt_counts_as_two_sided() -> None:
    """Its gradient is not 0 on the other side."""
    kernel, x = one_sided(9, 4, "past"), normal(5, HEADS, 9, 2)
    assert sides_of(kernel.requires_grad_(), Grid(9)) == [None] * HEADS
    found = [torch.autograd.grad((operator(kernel, 9, m) @ x).square().sum(), kernel)[0] for m in ("fft", "dense")]
    assert bool(found[1][:, 9:].any())
    assert_close(found[0], found[1])
    assert sides_of(kernel_of((9,), 6), Grid(9)) == [None] * HEADS
    assert isinstance(operator(kernel.detach(), 9, "fft")._prepare("fft", torch.float64), OneSidedProduct)
