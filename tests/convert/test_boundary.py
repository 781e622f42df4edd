"""Between open and periodic kernels: unrolling is a gather, wrapping a sum over images, and circular convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from retconv.convert import (
    bank_to_mask,
    conv_to_kernel,
    kernel_to_conv,
    kernel_to_mask,
    mask_to_bank,
    mask_to_kernel,
    unroll,
    windows,
    wrap,
)
from retconv.convert.boundary import flipped
from retconv.grid import Grid
from tests.compare import assert_close, assert_exact
from tests.laws import naive_boundaries as naive
from tests.laws.rings import GRIDS, TORI, on_rings, on_tori, ring_kernel, ring_mask
from tests.strategies import DTYPES, HEADS, normal


@on_rings
def test_geometry_by_loops(grid: Grid) -> None:
    """Offsets in the order of a kernel, which pairs read which, and how many share each."""
    offsets = naive.offsets(grid.shape, grid.periodic)
    assert_exact(grid.offsets().reshape(-1, grid.ndim), offsets)
    assert grid.offsets()[grid.center].tolist() == [0] * grid.ndim
    entry = {offset: float(i) for i, offset in enumerate(offsets)}
    assert_exact(grid.offset_index(), naive.mask(list(entry.values()), grid.shape, grid.periodic))
    assert_exact(grid.pair_count().flatten(), naive.pairs(grid.shape, grid.periodic))


@on_rings
def test_windows_and_bank(grid: Grid) -> None:
    """Rows of the mask folded to the grid, and one kernel per query of any mask, with nothing lost."""
    kernel, mask = ring_kernel(grid), ring_mask(grid)
    assert_exact(windows(kernel, grid).flatten(2), kernel_to_mask(kernel, grid))
    bank = mask_to_bank(mask, grid)
    assert bank.shape == (HEADS, grid.size, *grid.kernel_shape)
    assert_exact(bank_to_mask(bank, grid), mask)
    if all(grid.periodic):  # beyond an open border a query has no key
        assert_exact(mask_to_bank(kernel_to_mask(kernel, grid), grid), kernel[:, None].expand(bank.shape))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@on_rings
def test_prefix_tokens_stay_neutral(grid: Grid, dtype: torch.dtype) -> None:
    kernel, given = ring_kernel(grid, dtype=dtype), Grid(grid.shape, 2, grid.periodic)
    mask = kernel_to_mask(kernel, given)
    assert bool((mask[:, :2] == 1).all() and (mask[:, :, :2] == 1).all())
    assert_exact(mask[:, 2:, 2:], kernel_to_mask(kernel, grid))
    assert_exact(mask_to_kernel(mask, given), kernel)
    assert given.without_prefix() == grid


@on_rings
def test_flipped_kernel_is_the_transposed_mask(grid: Grid) -> None:
    kernel = ring_kernel(grid)
    assert_exact(kernel_to_mask(flipped(kernel, grid), grid), kernel_to_mask(kernel, grid).mT)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sides", [(1, 1), (3, 9), (7, 13), (15, 5)])
@pytest.mark.parametrize("rings", [(True, True), (True, False), (False, True)], ids=str)
def test_wrap_sums_images(sides: tuple[int, int], rings: tuple[bool, bool], dtype: torch.dtype) -> None:
    """``Σ_j K[δ + jn]`` of tables smaller and larger than the ring, on even and odd rings."""
    for shape in ((4, 5), (3, 6), (1, 2)):
        grid = Grid(shape, periodic=rings)
        full = grid.opened().kernel_shape
        held = [side if ring else open_ for side, ring, open_ in zip(sides, rings, full, strict=True)]
        kernel = normal(3, HEADS, *held, dtype=dtype)

        def entry(place: tuple[int, ...], head: int, table: torch.Tensor = kernel) -> float:
            at = [d + side // 2 for d, side in zip(place, table.shape[1:], strict=True)]
            inside = all(0 <= i < side for i, side in zip(at, table.shape[1:], strict=True))
            return float(table[(head, *at)]) if inside else 0.0

        expected = [naive.images(lambda place, head=head: entry(place, head), shape, rings, 8) for head in range(HEADS)]
        assert_close(wrap(kernel, grid).flatten(1), expected)


def test_wrapping_half_types_is_rounded_once() -> None:
    """300 images of 1 are 300, which a running sum in bfloat16 would not reach."""
    ones = torch.ones(1, 599, dtype=torch.bfloat16)
    assert wrap(ones, Grid(1, periodic=True)).tolist() == [[float(torch.tensor(599.0).bfloat16())]]


@on_rings
def test_unroll_then_wrap_counts_the_images_within_the_grid(grid: Grid) -> None:
    """Of δ ≠ 0 on a ring the open kernel holds two images, of 0 one."""
    kernel = ring_kernel(grid)
    count = torch.ones(grid.kernel_shape, dtype=torch.float64)
    for axis, ring in enumerate(grid.periodic):
        count *= 1 + (grid.offsets()[..., axis] != 0) * ring
    assert_close(wrap(unroll(kernel, grid), grid), kernel * count)


@pytest.mark.parametrize("dtype", DTYPES)
@on_tori
def test_circular_convolution_is_the_mask(grid: Grid, dtype: torch.dtype) -> None:
    """``padding="same", padding_mode="circular"`` has the kernel's own layout, of even sides too; and back."""
    kernel = ring_kernel(grid, dtype=dtype)
    conv = kernel_to_conv(kernel, grid)
    x = normal(2, 3, HEADS, *grid.shape, dtype=dtype)
    assert_close(conv(x).flatten(2), torch.einsum("hqk,bhk->bhq", kernel_to_mask(kernel, grid), x.flatten(2)))
    assert_exact(conv_to_kernel(conv, grid), kernel)


@pytest.mark.parametrize(("side", "dilation"), [(3, 1), (3, 2), (4, 1), (2, 3), (5, 2)])
def test_kernel_of_a_circular_convolution(side: int, dilation: int) -> None:
    """Taps that reach beyond the ring wrap around; torch itself wraps once."""
    grid, options = Grid((7, 6), periodic=True), {"padding_mode": "circular", "bias": False, "dtype": torch.float64}
    torch.manual_seed(0)
    conv = nn.Conv2d(HEADS, HEADS, side, padding="same", dilation=dilation, groups=HEADS, **options)  # type: ignore[arg-type]
    x = normal(1, 3, HEADS, 7, 6)
    mask = kernel_to_mask(conv_to_kernel(conv, grid), grid)
    assert_close(conv(x).flatten(2), torch.einsum("hqk,bhk->bhq", mask, x.flatten(2)))


def test_gradients_of_wrap_and_unroll() -> None:
    for grid in GRIDS:
        if grid.size > 6:
            continue
        open_ = normal(1, 1, *grid.opened().kernel_shape).requires_grad_()
        assert torch.autograd.gradcheck(lambda k, grid=grid: wrap(k, grid), open_)
        kernel = ring_kernel(grid)[:1].requires_grad_()
        assert torch.autograd.gradcheck(lambda k, grid=grid: kernel_to_mask(k, grid), kernel)


def test_a_grid_says_which_axes_are_rings() -> None:
    """In equality, hash, repr and text; a ring of one token is no line of one token."""
    grid = Grid((14, 3), 1, (True, False))
    assert grid == Grid.parse("14ox3+1") == eval(repr(grid)) == Grid.of(grid)
    assert repr(grid) == "Grid((14, 3), prefix=1, periodic=(True, False))"
    assert Grid.parse("7o") == Grid(7, periodic=True) != Grid(7)
    assert len({Grid((2, 3)), Grid((2, 3), periodic=True), Grid((2, 3), periodic=(False, False))}) == 2
    assert (grid.opened(), grid.is_open, Grid(3).is_open) == (Grid((14, 3), 1), False, True)
    assert all(torus.kernel_shape == torus.shape for torus in TORI)
