"""Kernels that go round a torus, against sums of many images."""

import math

import pytest
import torch

from retconv.grid import Grid
from retconv.kernels import (
    GAUSSIAN_EPSILON,
    gaussian_mixture,
    manhattan_decay,
    wrapped_decay,
    wrapped_gaussian,
)
from tests.compare import assert_close, assert_each_close
from tests.laws import naive_boundaries as naive
from tests.laws.rings import on_rings


@on_rings
def test_decay_is_the_sum_of_its_images(grid: Grid) -> None:
    """Entry by entry, for two γ."""
    gammas = (0.2, 0.6)
    kernel = wrapped_decay(grid, torch.tensor(gammas, dtype=torch.float64))
    reach = 25 if grid.ndim < 3 else 8
    for gamma, one in zip(gammas if grid.ndim < 3 else gammas[:1], kernel, strict=False):
        sums = naive.images(lambda d, g=gamma: g ** sum(map(abs, d)), grid.shape, grid.periodic, reach)
        if gamma ** (reach * min(grid.shape)) < 1e-13:
            assert_each_close(one.flatten(), sums, 1e-12)


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.4, 1.0, 3.0])
@pytest.mark.parametrize(
    "grid", [Grid(n, periodic=True) for n in (1, 2, 5, 8)] + [Grid((3, 4), periodic=(True, False))]
)
def test_gaussian_is_the_sum_of_its_images(grid: Grid, sigma: float) -> None:
    """Entry by entry, on both sides of the width from which its dual is summed."""
    variance = sigma**2 + GAUSSIAN_EPSILON
    kernel = wrapped_gaussian(grid, torch.tensor([[sigma]], dtype=torch.float64))
    sums = naive.images(lambda d: math.exp(-sum(x * x for x in d) / (2 * variance)), grid.shape, grid.periodic, 40)
    assert_each_close(kernel.flatten(), sums, 1e-12)


def test_both_sums_meet() -> None:
    """Just below and just above s = n / √(2π) the nine images and the waves of the dual give one number."""
    grid = Grid(8, periodic=True)
    crossing = math.sqrt(64 / (2 * math.pi) - GAUSSIAN_EPSILON)
    sigma = torch.tensor([[crossing * (1 - 1e-14)], [crossing * (1 + 1e-14)]], dtype=torch.float64)
    below, above = wrapped_gaussian(grid, sigma)
    assert_each_close(below, above, 1e-12)


def test_extreme_widths_are_finite_with_finite_gradients() -> None:
    """From a delta to a constant; the sum of a Gaussian far wider than the ring is √(2π) s / n."""
    sigma = torch.tensor([[0.0], [1e-3], [1e6]], dtype=torch.float64, requires_grad=True)
    kernel = wrapped_gaussian(Grid(5, periodic=True), sigma)
    assert_close(kernel[0], torch.eye(5)[2])
    assert_close(kernel[2], torch.full((5,), math.sqrt(2 * math.pi) * 1e6 / 5, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(kernel.sum(), sigma)
    assert bool(gradient.isfinite().all())


def test_mixtures_are_weighed() -> None:
    grid, sigma = Grid((4, 5), periodic=True), torch.tensor([[1.0, 2.0], [0.5, 3.0]], dtype=torch.float64)
    alpha = torch.tensor([[0.6, -0.8], [1.0, 2.0]], dtype=torch.float64)
    each = [wrapped_gaussian(grid, sigma[:, c : c + 1]) * alpha[:, c, None, None] for c in range(2)]
    assert_close(wrapped_gaussian(grid, sigma, alpha), sum(each))


def test_on_an_open_grid_nothing_is_wrapped() -> None:
    grid, gamma = Grid((3, 4)), torch.tensor([0.3, 0.9], dtype=torch.float64)
    sigma, alpha = torch.tensor([[1.0, 4.0]]).double(), torch.tensor([[2.0, -1.0]]).double()
    assert_close(wrapped_decay(grid, gamma), manhattan_decay(grid.offsets(), gamma))
    assert_close(wrapped_gaussian(grid, sigma, alpha), gaussian_mixture(grid.offsets(), sigma, alpha))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parameters_set_the_dtype_and_are_cast_last(dtype: torch.dtype) -> None:
    grid, gamma = Grid((3, 4), periodic=True), torch.tensor([0.5, 0.9], dtype=dtype)
    assert torch.equal(wrapped_decay(grid, gamma), wrapped_decay(grid, gamma.double()).to(dtype))
    assert torch.equal(
        wrapped_gaussian(grid, gamma[:, None]), wrapped_gaussian(grid, gamma.double()[:, None]).to(dtype)
    )
