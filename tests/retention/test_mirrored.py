"""Reflections: the mask of an even kernel keeps even and odd parts of tokens apart, and retention may use it."""

import math

import pytest
import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import Forms
from retconv.operators import operator
from retconv.retention import retention
from retconv.retention.convolution import convolution
from retconv.retention.mirrored import SIGNS, MirroredProduct
from tests.compare import assert_close, assert_exact
from tests.retention.cases import even_kernel
from tests.strategies import DTYPES, HEADS, kernel_of, normal

Shape = tuple[int, ...]
#: Rows (all axes but the last together) and columns are even.
every_even_grid = pytest.mark.parametrize("shape", [(2, 2), (4, 6), (6, 4), (2, 3, 4)])


@pytest.fixture(autouse=True)
def short_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if short axes were worth it."""
    monkeypatch.setattr("retconv.retention.mirrored.MIRROR_FROM", 2)


def inputs(shape: Shape, dtype: torch.dtype, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    size = math.prod(shape)
    return tuple(normal(s, batch, HEADS, size, d, dtype=dtype) for s, d in ((1, 3), (2, 3), (3, 5)))  # type: ignore[return-value]


@every_even_grid
def test_orbits_and_tokens_are_inverse(shape: Shape) -> None:
    product = MirroredProduct(even_kernel(shape, 0)[:1], Grid(shape))
    x = normal(1, math.prod(shape), 2, 3)
    assert_exact(product.tokens(product.orbits(x)), x)


@every_even_grid
@pytest.mark.parametrize("dtype", DTYPES)
def test_mask_of_an_even_kernel_keeps_the_four_classes_apart(shape: Shape, dtype: torch.dtype) -> None:
    """``M x`` of a signal of one class is of that class, and the product of its quarter."""
    for kernel in even_kernel(shape, 0, dtype).split(1):
        product = MirroredProduct(kernel, Grid(shape))
        dense = kernel_to_mask(kernel.double(), shape)[0]
        for i, signs in enumerate(torch.tensor(SIGNS, dtype=dtype)):
            quarter = normal(i, math.prod(shape) // 4, 2, dtype=dtype)
            x = product.tokens(quarter[:, None] * signs[:, None])
            expected = product.orbits(dense @ x.double())
            assert_close(expected, expected[:, :1] * signs[:, None].double())
            # Sums over an orbit are four times its first token.
            assert_close(product(i, 4 * quarter), expected[:, 0])


@every_even_grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("budget", [1, 2**30])
def test_law_14_by_classes_is_the_dense_form(shape: Shape, dtype: torch.dtype, budget: int) -> None:
    """In one block and feature by feature, as the dense reference in float64."""
    q, k, v = inputs(shape, dtype)
    kernel = even_kernel(shape, 0, dtype)
    assert MirroredProduct.applies(kernel, Grid(shape))
    actual = convolution(q, k, v, Forms.of(kernel, Grid(shape)), "toeplitz", budget)
    dense = (t.double() for t in (q, k, v))
    assert_close(actual, retention(*dense, kernel.double(), shape, method="parallel", scale=1))


@every_even_grid
def test_law_14_by_classes_has_the_gradients_of_the_dense_form(shape: Shape) -> None:
    q, k, v = (t.requires_grad_() for t in inputs(shape, torch.float64))
    kernel, w = even_kernel(shape, 0), normal(4, *v.shape)
    actual = convolution(q, k, v, Forms.of(kernel, Grid(shape)), "toeplitz", 1)
    expected = retention(q, k, v, kernel, shape, method="parallel", scale=1)
    for a, e in zip(*(torch.autograd.grad((t * w).sum(), (q, k, v)) for t in (actual, expected)), strict=True):
        assert_close(a, e)


@every_even_grid
def test_gradient_of_an_even_kernel_is_not_even(shape: Shape) -> None:
    """A table that starts even leaves that when it trains: the short cuts of even kernels must not hide it."""
    q, k, v = inputs(shape, torch.float64)
    kernel, w = even_kernel(shape, 0).requires_grad_(), normal(4, *v.shape)
    assert not MirroredProduct.applies(kernel, Grid(shape))
    (expected,) = torch.autograd.grad((retention(q, k, v, kernel, shape, method="parallel", scale=1) * w).sum(), kernel)
    assert float((expected - expected.flip(-1)).abs().max()) > 0.1
    actual = convolution(q, k, v, Forms.of(kernel, Grid(shape)), "toeplitz", 2**30)
    assert_close(torch.autograd.grad((actual * w).sum(), kernel)[0], expected)
    x, y = normal(5, HEADS, math.prod(shape), 4), normal(6, HEADS, math.prod(shape), 4)
    applied = operator(kernel, shape, "toeplitz") @ x
    dense = kernel_to_mask(kernel, shape) @ x
    assert_close(*(torch.autograd.grad((t * y).sum(), kernel)[0] for t in (applied, dense)))


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 4)])
def test_odd_counts_and_uneven_kernels_do_not_apply(shape: Shape) -> None:
    assert not MirroredProduct.applies(even_kernel(shape, 0), Grid(shape))
    assert not MirroredProduct.applies(kernel_of((4, 4), 0), Grid((4, 4)))
    q, k, v = inputs(shape, torch.float64)
    kernel = even_kernel(shape, 0)
    actual = convolution(q, k, v, Forms.of(kernel, Grid(shape)), "toeplitz", 2**30)
    assert_close(actual, retention(q, k, v, kernel, shape, method="parallel", scale=1))
