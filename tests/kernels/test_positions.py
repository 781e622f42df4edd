"""Masks of position: each against its loop over queries and keys, and where it is a convolution after all."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from retconv import kernels
from retconv.convert import project
from retconv.grid import Grid
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.kernels import naive_relatives
from tests.strategies import DTYPES, HEADS, every_grid, normal, on_grids

Pair = Callable[[naive.Position, naive.Position], float]


def check(actual: Tensor, loop: Callable[[int], Pair], shape: tuple[int, ...]) -> None:
    """Entries by loops, head by head, bit for bit."""
    assert_exact(actual, [naive.mask(loop(h), shape) for h in range(actual.shape[0])])


@pytest.mark.parametrize(
    ("shape", "side", "dilation"),
    [
        ((1,), 1, 1),
        ((7,), 3, 1),
        ((7,), 7, 1),
        ((11,), 3, 2),
        ((10,), 3, 3),
        ((3, 5), 3, 1),
        ((6, 7), 3, 2),
        ((3, 3, 4), 3, 1),
    ],
)
def test_neighbourhood(shape: tuple[int, ...], side: int, dilation: int) -> None:
    """The nearest keys on each axis; as many in every row."""
    actual = kernels.neighbourhood(Grid(shape, prefix=1), side, dilation)
    check(actual, lambda _: lambda q, k: naive_relatives.neighbourhood(q, k, shape, side, dilation), shape)
    assert_exact(actual.sum(dim=-1), torch.full((1, actual.shape[1]), float(side ** len(shape))))


def test_inner_rows_of_a_neighbourhood_are_a_window() -> None:
    """Away from the border the shifted window is the window, so that its residual is the border's alone."""
    grid = Grid((7, 9))
    shifted = kernels.neighbourhood(grid, 3).reshape(7, 9, 63)
    window = naive.mask(lambda q, k: float(max(abs(q[0] - k[0]), abs(q[1] - k[1])) <= 1), (7, 9))
    inner = torch.tensor(window, dtype=shifted.dtype).reshape(7, 9, 63)
    assert_exact(shifted[1:-1, 1:-1], inner[1:-1, 1:-1])
    assert bool((shifted[0] != inner[0]).any())


@pytest.mark.parametrize("sides", [1, 2, 4])
@every_grid
def test_same_window(shape: tuple[int, ...], seed: int, sides: int) -> None:
    """No tile begins between the two tokens."""
    width, shift = (sides,) * len(shape), tuple(range(seed % sides, seed % sides + 1)) * len(shape)
    actual = kernels.same_window(shape, width, shift)
    check(actual, lambda _: lambda q, k: naive_relatives.same_window(q, k, width, shift), shape)


@pytest.mark.parametrize("block", [1, 2, 5])
@on_grids((1,))
def test_block_causal(shape: tuple[int, ...], seed: int, block: int) -> None:
    """⌊k/b⌋ ≤ ⌊q/b⌋."""
    actual = kernels.block_causal(shape, block)
    check(actual, lambda _: lambda q, k: naive_relatives.block_causal(q, k, block), shape)
    assert (float(project(actual.double(), shape).residual) == 0) == (block == 1 or shape[0] <= block)


@pytest.mark.parametrize(("segment", "dilation"), [(1, 1), (4, 1), (4, 2), (5, 3)])
@on_grids((1,))
def test_dilated_segments(shape: tuple[int, ...], seed: int, segment: int, dilation: int) -> None:
    """Every r-th token of a segment, from another start in each head."""
    actual = kernels.dilated_segments(shape, 3, segment, dilation)
    check(actual, lambda h: lambda q, k: naive_relatives.dilated_segments(q, k, h, segment, dilation), shape)


def fire_weights(seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sizes = ((4,), (4,), (HEADS, 4), (HEADS,))
    first, second, third, last = (normal(seed + i, *size, dtype=dtype) for i, size in enumerate(sizes))
    return first, second, third, last


@pytest.mark.parametrize("dtype", DTYPES)
@on_grids((1,))
def test_fire(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """f(ψ(|q − k|) / ψ(max(q, L)))."""
    weights = fire_weights(seed, dtype)
    actual = kernels.fire(shape, 0.5, 2.5, *weights)
    assert actual.dtype == dtype
    hidden, shift, out, bias = (w.tolist() for w in weights)
    expected = [
        naive.mask(
            lambda q, k, h=h: naive_relatives.fire(q, k, 0.5, 2.5, hidden, shift, out[h], bias[h]),
            shape,
        )
        for h in range(HEADS)
    ]
    assert_close(actual, expected)


@pytest.mark.parametrize(("threshold", "has_kernel"), [(8.0, True), (3.0, False)])
def test_fire_has_a_kernel_up_to_its_threshold(threshold: float, has_kernel: bool) -> None:
    """While q ≤ L every row has one scale; a longer line has rows beyond it."""
    residual = project(kernels.fire(9, 0.1, threshold, *fire_weights(1, torch.float64)), 9).residual
    assert bool((residual < 1e-15).all()) == has_kernel


def test_fire_gradients() -> None:
    """In the learnt scale and threshold and in every weight, at distance 0 too."""
    numbers = torch.tensor(0.3, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)
    leaves = tuple(p.requires_grad_() for p in (*numbers, *fire_weights(2, torch.float64)))
    assert torch.autograd.gradcheck(lambda *p: kernels.fire(5, *p), leaves)
