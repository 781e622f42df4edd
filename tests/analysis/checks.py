"""Checks of the analysis against loops, which must fail where the sign of the offset is flipped."""

import math

import pytest
import torch
from torch import Tensor, nn

from retconv.analysis.effective import (
    effective_kernel,
    gradient_field,
)
from retconv.analysis.locality import locality, window_sums
from retconv.analysis.spectrum import (
    causal_decay_symbol,
    frequencies,
    symbol,
)
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import causal_decay
from retconv.operators import operator
from tests import naive
from tests.analysis import naive as naive_analysis
from tests.analysis import naive_effective
from tests.analysis.cases import as_real, f64
from tests.compare import assert_close
from tests.strategies import HEADS, kernel_of, mask_of, normal, uniform

#: What the issue asks of a closed form beside its numeric counterpart, relative to the largest gain.
CLOSED = 1e-10


def assert_closed_form(closed: Tensor, numeric: Tensor) -> None:
    assert closed.shape == numeric.shape
    error = float((closed - numeric).abs().max() / numeric.abs().max())
    assert error <= CLOSED, f"closed form off by {error:.1e} of the largest gain"


def check_symbol(shape: tuple[int, ...], seed: int) -> None:
    kernel = kernel_of(shape, seed)
    theta = uniform(seed, -math.pi, math.pi, 4, len(shape))
    expected = [[naive_analysis.symbol(k, shape, t) for t in theta.tolist()] for k in kernel.flatten(1).tolist()]
    actual, expected = symbol(kernel, theta), torch.tensor(expected, dtype=torch.complex128)
    assert actual.shape == (HEADS, 4)
    assert_close(as_real(actual), as_real(expected), torch.float64)


def check_plane_wave(shape: tuple[int, ...]) -> None:
    """(M x)[q] = a(θ) x[q] for x[p] = exp(iθ·p), at a query whose window meets no border."""
    grid, reach = Grid(shape), 5
    inside = (grid.offsets().abs() <= reach).all(dim=-1)
    kernel = kernel_of(shape, 3) * inside
    theta = uniform(1, -3.0, 3.0, len(shape))
    wave = torch.exp(1j * (grid.coordinates().double() @ theta))
    query = grid.size // 2
    assert min(*grid.coordinates()[query].tolist(), 99) >= reach
    gain = (kernel_to_mask(kernel, grid)[:, query].to(torch.complex128) @ wave) / wave[query]
    expected = symbol(kernel, theta)
    assert_close(as_real(gain), as_real(expected), torch.float64)


def check_causal_pole(gamma: float) -> None:
    """1 / (1 − γ z⁻¹) with z = exp(iθ): the sign is that of offset = key − query."""
    theta, long = frequencies(33), Grid(700)
    assert_closed_form(causal_decay_symbol(theta, gamma), symbol(causal_decay(long.offsets(), f64([gamma])), theta))


def check_locality(rows: list, measured: object, head: int, shape: tuple[int, ...]) -> None:
    def value(name: str) -> Tensor:
        return getattr(measured, name)[head]

    assert float(value("mean_distance")) == pytest.approx(
        naive_analysis.mean_share(rows, lambda d, _: naive_analysis.distance(d))
    )
    assert float(value("entropy")) == pytest.approx(naive_analysis.entropy(rows), abs=1e-9)
    assert float(value("radius_half")) == pytest.approx(naive_analysis.radius_of(rows, 0.5))
    assert float(value("radius_95")) == pytest.approx(naive_analysis.radius_of(rows, 0.95))
    assert float(value("size_95")) == 2 * naive_analysis.radius_of(rows, 0.95, naive_analysis.chebyshev) + 1
    own, near = naive_analysis.own_and_near(rows)
    assert float(value("self_weight")) == pytest.approx(own)
    assert float(value("neighbour_weight")) == pytest.approx(near)
    assert float(value("extroversion")) == pytest.approx((near - own) / (abs(near) + abs(own)))
    center = [naive_analysis.mean_share(rows, lambda d, _, a=axis: d[a]) for axis in range(len(shape))]
    assert value("center").tolist() == pytest.approx(center, abs=1e-9)


def check_locality_of_masks(shape: tuple[int, ...], seed: int) -> None:
    """A mask that has a kernel, by window sums; one that has none, by its entries; and the kernel itself."""
    kernel, free = kernel_of(shape, seed), mask_of(shape, seed)
    with_border, without, entries = (
        locality(kernel, shape),
        locality(kernel, shape, border=False),
        locality(free, shape),
    )
    for head in range(HEADS):
        flat = kernel[head].flatten().tolist()
        rows = naive_analysis.rows_of_mask(naive.mask_of_kernel(flat, shape), shape)
        check_locality(rows, with_border, head, shape)
        check_locality(naive_analysis.row_of_kernel(flat, shape), without, head, shape)
        check_locality(naive_analysis.rows_of_mask(free[head].tolist(), shape), entries, head, shape)


def check_window_sums(shape: tuple[int, ...], seed: int) -> None:
    kernel = kernel_of(shape, seed)
    scale = kernel_to_mask(kernel, shape).abs().sum(dim=2).max()
    assert (
        float((window_sums(kernel, Grid(shape)) - kernel_to_mask(kernel, shape).sum(dim=2)).abs().max()) < 1e-13 * scale
    )


def attention(shape: tuple[int, ...], seed: int, images: int = 3, prefix: int = 0) -> Tensor:
    """Softmax attention whose scores depend on offset, position and image: ``(images, heads, length, length)``."""
    length = prefix + math.prod(shape)
    scores = normal(seed, images, HEADS, length, length) + normal(seed + 1, HEADS, length, length)
    scores[..., prefix:, prefix:] += kernel_to_mask(2 * kernel_of(shape, seed), shape)
    return scores.softmax(dim=-1)


def check_effective(shape: tuple[int, ...], seed: int) -> None:
    weights = attention(shape, seed)
    found = effective_kernel(weights, shape)
    assert found.count == 3
    for head in range(HEADS):
        images = [image[head].tolist() for image in weights]
        kernel, shares = naive_effective.effective(images, shape)
        assert_close(found.kernel[head].flatten(), [kernel[offset] for offset in naive.offsets(shape)])
        assert_close(found.residual[head].flatten(), naive_effective.residual(images, shape))
        actual = [float(part[head]) for part in (found.explained, found.position, found.content)]
        assert actual == pytest.approx(shares, abs=1e-12)
        assert sum(actual) == pytest.approx(1, abs=1e-12)
    assert_close(found.mean, weights.mean(dim=0))


class Stack(nn.Module):
    """Depthwise convolutions one after another: channels are heads."""

    def __init__(self, kernels: list[Tensor], grid: Grid) -> None:
        super().__init__()
        self.operators = [operator(kernel, grid, method="fft") for kernel in kernels]

    def forward(self, x: Tensor) -> Tensor:
        for op in self.operators:
            x = (op @ x.mT[..., None])[..., 0].mT
        return x


def check_gradient_field(query: tuple[int, ...]) -> None:
    """Of a linear stack it is the row of the product of the masks, exactly, border and all."""
    grid, kernels = Grid((5, 6)), [kernel_of((5, 6), seed) for seed in range(3)]
    product = torch.eye(30, dtype=torch.float64)
    for kernel in kernels:
        product = kernel_to_mask(kernel, grid) @ product
    row = product[:, query[0] * 6 + query[1]].abs().sum(dim=0).reshape(5, 6)
    x = normal(0, 4, 30, HEADS)
    assert_close(gradient_field(Stack(kernels, grid), x, grid, query), row)
