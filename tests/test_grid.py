"""Geometry: where tokens lie, what an offset is, and when a dense object is refused."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from retconv.attention import alibi_channels, gaussian_channels
from retconv.convert import kernel_to_mask
from retconv.cross import Cross
from retconv.grid import Grid, forget_kept, kept
from retconv.heads.encoding import quadratic_encoding
from retconv.masks import BiasMask, OffDiagonalMask
from retconv.memory import DENSE_LIMIT_BYTES, DenseLimitError, dense_limit
from tests import naive
from tests.compare import assert_exact
from tests.grid_cases import check_offset_index, check_offsets
from tests.strategies import every_grid, normal


@every_grid
def test_coordinates_are_row_major(shape: tuple[int, ...], seed: int) -> None:
    """Token i lies at the quotients and remainders of i: the last axis runs fastest."""
    assert_exact(Grid(shape).coordinates(), naive.positions(shape))


@every_grid
def test_offsets_run_from_one_minus_n_to_n_minus_one(shape: tuple[int, ...], seed: int) -> None:
    """The entry at index δ + n − 1 is δ."""
    check_offsets(shape, seed)


@every_grid
def test_offset_index_is_key_minus_query(shape: tuple[int, ...], seed: int) -> None:
    """Entry [q, k] is the place of offset k − q in a kernel."""
    check_offset_index(shape, seed)


@every_grid
def test_pair_count(shape: tuple[int, ...], seed: int) -> None:
    """∏_d (n_d − |δ_d|) pairs share offset δ, and all pairs together are N²."""
    count = Counter(naive.difference(q, k) for q in naive.positions(shape) for k in naive.positions(shape))
    grid = Grid(shape)
    assert_exact(grid.pair_count().flatten(), [count[offset] for offset in naive.offsets(shape)])
    assert int(grid.pair_count().sum()) == grid.size**2


@every_grid
def test_sizes(shape: tuple[int, ...], seed: int) -> None:
    """N = ∏ n_d, the sequence is longer by the prefix, a kernel has 2n − 1 entries along each axis."""
    grid = Grid(shape, prefix=3)
    assert (grid.ndim, grid.size, grid.length) == (len(shape), math.prod(shape), math.prod(shape) + 3)
    assert grid.kernel_shape == tuple(2 * n - 1 for n in shape)
    assert grid.without_prefix() == Grid(shape)


def test_an_int_is_a_line() -> None:
    assert Grid(7) == Grid((7,)) == Grid([7]) == Grid.of(7)


def test_of_keeps_a_grid() -> None:
    grid = Grid((2, 3), prefix=1)
    assert Grid.of(grid) is grid
    assert Grid.of((2, 3)) == Grid((2, 3))


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("7", Grid(7)),
        ("14x14", Grid((14, 14))),
        ("14×16", Grid((14, 16))),
        ("2X3X4", Grid((2, 3, 4))),
        ("14x14+1", Grid((14, 14), prefix=1)),
    ],
)
def test_parse_reads_what_a_person_writes(text: str, grid: Grid) -> None:
    assert Grid.parse(text) == grid


@pytest.mark.parametrize("grid", [Grid(7), Grid((2, 3)), Grid((2, 3, 4), prefix=2)])
def test_repr_builds_the_grid_again(grid: Grid) -> None:
    assert eval(repr(grid)) == grid


def test_grid_is_a_frozen_value() -> None:
    """Grids can be dictionary keys: equal shape and prefix, equal grid."""
    assert len({Grid((2, 3)), Grid([2, 3]), Grid((3, 2)), Grid((2, 3), prefix=1)}) == 3
    with pytest.raises(dataclasses.FrozenInstanceError, match="shape"):
        Grid(3).shape = (4,)  # type: ignore[misc]


def test_dense_object_at_the_limit_is_allowed_and_one_byte_above_is_refused() -> None:
    """The product heads · length² · bytes per entry is compared with the limit; prefix tokens count."""
    grid = Grid((2, 3), prefix=1)
    needed = 5 * 7**2 * 4
    with dense_limit(needed):
        grid.require_dense(5, torch.float32)
    with dense_limit(needed - 1), pytest.raises(DenseLimitError, match=rf"\(5, 7, 7\).*{needed}\)"):
        grid.require_dense(5, torch.float32)


def test_refusal_names_the_sizes_and_the_alternative() -> None:
    message = r"\(8, 65536, 65536\) torch.float32.*128.00 GiB, above the limit of 4.00 GiB.*retconv.operator"
    with pytest.raises(DenseLimitError, match=message):
        Grid((256, 256)).require_dense(8)


def test_dense_limit_holds_inside_its_block_only() -> None:
    grid = Grid(1000)
    with dense_limit(DENSE_LIMIT_BYTES * 2):
        with dense_limit(1), pytest.raises(DenseLimitError):
            grid.require_dense()
        grid.require_dense()
    grid.require_dense()


def test_dense_limit_is_restored_after_an_error() -> None:
    with pytest.raises(KeyError), dense_limit(1):
        raise KeyError
    Grid(1000).require_dense()


def test_offset_index_is_refused_above_the_limit() -> None:
    with dense_limit(9 * 8 - 1), pytest.raises(DenseLimitError, match=r"torch\.int64"):
        Grid(3).offset_index()


def test_what_is_kept_is_made_once_until_it_is_forgotten() -> None:
    calls = []

    @kept
    def table(grid: Grid) -> torch.Tensor:
        calls.append(grid)
        return grid.offsets().double()

    first = table(Grid((2, 3)))
    assert_exact(first, Grid((2, 3)).offsets().double())
    assert table(Grid((2, 3))) is first
    assert table(Grid((3, 2))) is not first
    forget_kept()
    assert table(Grid((2, 3))) is not first
    assert len(calls) == 3


def test_what_is_kept_serves_every_later_call() -> None:
    """Made first in inference mode, as a fake or under a transformation, it is a plain tensor for autograd to keep."""
    x = torch.ones(5, requires_grad=True)

    def faked(call: Callable[[torch.Tensor], torch.Tensor]) -> None:
        with FakeTensorMode(allow_non_fake_inputs=True):
            call(torch.ones(5))

    for within in (
        lambda call: torch.inference_mode()(call)(x),
        lambda call: torch.func.grad(lambda y: call(y).sum())(x),
        lambda call: torch.func.vmap(call)(torch.ones(2, 5)),
        lambda call: faked(call),
    ):
        offsets = kept(lambda grid: grid.offsets().double()[:, 0])
        within(lambda y, offsets=offsets: y * offsets(Grid(3)))
        (x * offsets(Grid(3)) ** 2).sum().backward()
    assert x.grad is not None
    assert_exact(x.grad, [16.0, 4, 0, 4, 16])


def test_what_is_kept_does_not_lie_on_torchs_default_device() -> None:
    """Made first where that is ``meta``, it serves tensors on the CPU: without a device every table is theirs."""
    kernel = normal(0, 1, 5, 7)
    expected = kernel_to_mask(kernel, (3, 4))
    forget_kept()
    with torch.device("meta"):
        found = [kernel_to_mask(kernel, (3, 4)) for _ in range(2)]
    for mask in (*found, kernel_to_mask(kernel, (3, 4))):
        assert_exact(mask, expected)


def test_offsets_do_not_depend_on_the_prefix() -> None:
    """Prefix tokens take part in no convolution."""
    shapes = [Grid((2, 3), prefix=p).offsets().shape for p in (0, 1, 5)]
    assert all(a == b for a, b in pairwise(shapes))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Grid((2, 3)).offsets(),
        lambda: Cross((4, 2), (2, 1)).offset_table(),
        lambda: Cross((4, 2), (2, 1)).index(),
        lambda: alibi_channels(torch.tensor([0.5], dtype=torch.float64), 3).key,
        lambda: gaussian_channels(torch.tensor([0.5], dtype=torch.float64), (1, 3)).key,
        lambda: quadratic_encoding(3),
        lambda: OffDiagonalMask(1).double().kernel(3),
        lambda: BiasMask(1, "gpsa", axes=1, learnable=False).double().log_kernel(3),
    ],
)
def test_what_is_kept_between_calls_is_handed_to_nobody(make: Callable[[], Tensor]) -> None:
    """To write to a result leaves the next call's as it was."""
    before = make()
    expected = before.clone()
    before.add_(1)
    assert_exact(make(), expected)
