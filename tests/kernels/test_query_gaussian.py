"""A Gaussian for each query against its formula, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv.grid import Grid
from retconv.kernels import QueryGaussian, gaussian
from retconv.masks import Forms
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.kernels import naive_gates
from tests.kernels.gates import BATCH
from tests.strategies import HEADS, every_grid, normal, uniform


def drawn(shape: tuple[int, ...], seed: int, full: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Shifts, precisions as matrices, and weights of both signs."""
    size, axes = math.prod(shape), len(shape)
    root = normal(seed + 1, BATCH, HEADS, size, axes, axes)
    precision = root @ root.mT if full else torch.diag_embed(uniform(seed + 1, 0.01, 4, BATCH, HEADS, size, axes))
    return normal(seed, BATCH, HEADS, size, axes), precision, normal(seed + 2, BATCH, HEADS, size)


def given(precision: Tensor, full: bool) -> Tensor:
    return precision if full else precision.diagonal(dim1=-2, dim2=-1)


@pytest.mark.parametrize("full", [True, False])
@settings(max_examples=8)
@every_grid
def test_entries_are_gaussians_of_their_queries(shape: tuple[int, ...], seed: int, full: bool) -> None:
    """And their logarithms the quadratic form, with LocAt's weight its exponential times it; prefix tokens neutral."""
    shift, precision, alpha = drawn(shape, seed, full)
    places = naive.positions(shape)
    flat = [x.flatten(0, 1).tolist() for x in (shift, precision, alpha)]
    rows, weighted = [], []
    for mu, p, a in zip(*flat, strict=True):
        pairs = [
            [naive_gates.quadratic(naive.difference(at, k), mu[q], p[q]) for k in places] for q, at in enumerate(places)
        ]
        rows.append(pairs)
        weighted.append([[a[q] * math.exp(x) for x in row] for q, row in enumerate(pairs)])
    grid = Grid(shape)
    for expected, weight in ((rows, None), (weighted, alpha)):
        gaussians = QueryGaussian(shift, given(precision, full), weight)
        assert gaussians.full is full
        log = gaussians.log_entries(grid)
        assert_close(log.flatten(0, 1), expected)
        assert_close(gaussians.entries(grid), log.exp())
        prefixed = Forms.of(gaussians, Grid(shape, prefix=1))
        assert_exact(prefixed.log.entries[..., 1:, 1:], log)
        assert bool((prefixed.entries[..., 0] == 1).all() and (prefixed.log.entries[..., 0, :] == 0).all())


def test_far_queries_keep_their_logarithm_in_float32() -> None:
    """Where the Gaussian itself is 0."""
    gaussians = QueryGaussian(torch.zeros(1, 100, 1), torch.ones(1, 100, 1))
    assert float(gaussians.entries(Grid(100))[0, 0, 99]) == 0.0
    assert_exact(gaussians.log_entries(Grid(100))[0, 0, 99], torch.tensor(-0.5 * 99**2))


def test_equal_queries_are_the_gaussian_kernel() -> None:
    sigma = torch.tensor([1.5, 0.7], dtype=torch.float64)
    precision = (1 / (sigma**2 + 1e-5))[:, None, None].expand(-1, 15, 2)
    kernel = gaussian(Grid((3, 5)).offsets(), sigma)
    ours = QueryGaussian(torch.zeros_like(precision), precision).entries(Grid((3, 5)))
    assert_close(ours, Forms.of(kernel, Grid((3, 5))).entries)


@pytest.mark.parametrize("full", [True, False])
def test_gradients_are_those_of_differences(full: bool) -> None:
    shift, precision, alpha = (x[:1, :1] for x in drawn((1, 3), 0, full))
    leaves = [x.clone().requires_grad_() for x in (shift, given(precision, full), alpha)]
    for f in (QueryGaussian.entries, QueryGaussian.log_entries):
        assert torch.autograd.gradcheck(lambda *x, f=f: f(QueryGaussian(*x), Grid((1, 3))), leaves)
        assert torch.autograd.gradcheck(lambda *x, f=f: f(QueryGaussian(*x), Grid((1, 3))), leaves[:2])
