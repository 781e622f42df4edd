"""Attention weights as a stream: every number against loops, and the interval against a planted truth."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import settings

from retconv.convert import kernel_to_mask, unroll
from retconv.grid import Grid
from retconv.heads import HeadStream, LayerLook
from retconv.heads.stream import GROUPS
from tests.analysis.checks import attention
from tests.compare import assert_close
from tests.flips import flipped_gather  # noqa: F401  (a fixture)
from tests.heads.cases import SHAPE, check_stream
from tests.strategies import DTYPES, every_grid, kernel_of, normal


@settings(max_examples=4)
@every_grid
def test_every_number_by_loops(shape: tuple[int, ...], seed: int) -> None:
    check_stream(shape, seed)


def test_groups_of_unequal_size_by_loops() -> None:
    """More images than groups: some hold two."""
    check_stream((1, 3), 0, count=GROUPS + 3, prefix=0)


def test_windows_of_one_image_go_together_by_loops() -> None:
    check_stream(SHAPE, 1, count=3, prefix=0, windows=4)


@pytest.mark.usefixtures("flipped_gather")
def test_flipped_offsets_are_noticed() -> None:
    """With query − key for an offset the kernel is another; the shares are the same."""
    stream = HeadStream(SHAPE)
    kernel = kernel_of(SHAPE, 0)
    stream.update(normal(0, 3, 1, 1, 1) * 0 + _by_index(kernel), 3)
    with pytest.raises(AssertionError):
        assert_close(stream.result().effective.kernel, kernel)


def _by_index(kernel: torch.Tensor) -> torch.Tensor:
    """The mask of a kernel, without the gather that a flip turns."""
    return kernel.flatten(1)[:, Grid(SHAPE).offset_index()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_result_does_not_depend_on_the_batches(dtype: torch.dtype) -> None:
    weights = attention(SHAPE, 0, images=11, prefix=1).to(dtype)
    whole, parts = HeadStream(Grid(SHAPE, prefix=1)), HeadStream(Grid(SHAPE, prefix=1))
    whole.update(weights, 11)
    place = 0
    for part in weights.split([1, 6, 4]):
        parts.update(part, len(part), place)
        place += len(part)
    one, other = whole.result(), parts.result()
    for name in ("circulant", "prefix", "variation", "variance"):
        assert_close(getattr(other, name), getattr(one, name))
    for end, expected in zip(other.interval, one.interval, strict=True):
        assert_close(end, expected)


def test_shares_are_those_of_the_weights_that_a_prefix_leaves() -> None:
    """A class token may take all but 1e-12 of the mass, as a sink does: rows are not renormalised."""
    weights = attention(SHAPE, 0, images=9, prefix=1)
    sunk = weights * torch.where(torch.arange(weights.shape[3]) > 0, 2.0**-40, 1.0)
    results = []
    for each in (weights, sunk):
        stream = HeadStream(Grid(SHAPE, prefix=1))
        stream.update(each, 9)
        results.append(stream.result())
    plain, little = results
    assert_close(little.variance * 2.0**80, plain.variance)
    for name in ("circulant", "variation"):
        assert_close(getattr(little, name), getattr(plain, name))
    for end, expected in zip(little.interval, plain.interval, strict=True):
        assert_close(end, expected)


def test_on_a_device_the_numbers_are_those_of_the_cpu(device: torch.device) -> None:
    weights = attention(SHAPE, 0, images=9, prefix=1)
    here, there = HeadStream(Grid(SHAPE, prefix=1)), HeadStream(Grid(SHAPE, prefix=1))
    here.update(weights, 9)
    there.update(weights.to(device), 9)
    one, other = (LayerLook.of("attn", stream.grid, 1, 8.0, stream.result()) for stream in (here, there))
    for row, expected in zip(other.rows, one.rows, strict=True):
        numbers = [name for name, value in expected.items() if isinstance(value, float)]
        assert [row[name] for name in numbers] == pytest.approx([expected[name] for name in numbers], rel=1e-6)


def test_memory_does_not_grow_with_the_images() -> None:
    stream = HeadStream(SHAPE)

    def held() -> int:
        own = [value for part in (stream, stream._effective) for value in vars(part).values()]
        return sum(value.numel() for value in own if isinstance(value, torch.Tensor))

    weights = attention(SHAPE, 0, images=8)
    stream.update(weights, 8)
    before = held()
    for batch in range(1, 20):
        stream.update(weights, 8, 8 * batch)
    assert held() == before
    assert stream.result().effective.count == 160


def test_law_23_no_circulant_matrix_explains_more_and_one_that_is_explains_as_much() -> None:
    ring = Grid(SHAPE, periodic=True)
    kernel = normal(0, 2, *SHAPE).abs()
    around = kernel_to_mask(unroll(kernel, ring), SHAPE)
    stream = HeadStream(SHAPE)
    stream.update(around + 0.1 * normal(1, 20, *around.shape), 20)
    result = stream.result()
    assert bool((result.circulant <= result.effective.explained).all())
    assert_close(result.circulant, result.effective.explained, torch.bfloat16)
    stream = HeadStream(SHAPE)
    stream.update(kernel_to_mask(kernel_of(SHAPE, 0), SHAPE)[None], 1)
    assert float(stream.result().circulant.max()) < 0.7
    assert_close(stream.result().effective.explained, [1.0, 1.0])


def test_uniform_attention_has_no_share_and_few_images_no_interval() -> None:
    stream = HeadStream(Grid(SHAPE, prefix=1))
    stream.update(torch.full((5, 2, 16, 16), 1 / 16), 5)
    result = stream.result()
    assert bool(torch.stack([*result.interval, result.circulant, result.effective.explained]).isnan().all())
    assert result.variation.tolist() == [0, 0]
    assert_close(result.prefix, [1 / 16] * 2)
    stream = HeadStream(SHAPE)
    stream.update(attention(SHAPE, 0, images=2), 2)
    assert bool(torch.stack([*stream.result().interval]).isnan().all())


@pytest.mark.parametrize(("count", "mixed"), [(6, 0.3), (40, 0.3), (40, 0.0), (12, 1.5)])
def test_interval_covers_the_share_over_all_images(count: int, mixed: float) -> None:
    """Images of a kernel, of one of their own (by which the share follows few images) and of noise: 400 heads.

    Of 400 intervals that cover with probability 93 %, fewer than 358 do so with probability 4·10⁻³.
    """
    shape, trials, noise = (2, 3), 400, 0.5
    grid = Grid(shape)
    kernel, pairs = kernel_of(shape, 0, heads=1), grid.pair_count()
    signal = float((pairs * (kernel - (pairs * kernel).sum() / pairs.sum()).square()).sum())
    truth = signal / (signal + float(pairs.sum()) * (mixed**2 + noise**2))
    images = kernel[0] + mixed * normal(0, count * trials, *grid.kernel_shape)
    weights = kernel_to_mask(images, shape) + noise * normal(1, count * trials, 6, 6)
    stream = HeadStream(shape)
    stream.update(weights.unflatten(0, (count, trials)), count)
    interval = stream.result().interval
    covered = int(((interval.low <= truth) & (truth <= interval.high)).sum())
    assert covered >= 358, covered


@pytest.mark.parametrize(("count", "least"), [(12, 340), (100, 350)])
def test_interval_where_the_kernel_is_stronger_in_some_images(count: int, least: int) -> None:
    """Lognormal strengths, whose shares are skewed: 400 heads, of which about 90 % are said to cover."""
    shape, trials, sigma, noise = (3, 3), 400, 0.5, 0.3
    entries = kernel_to_mask(kernel_of(shape, 0, heads=1), shape)
    strength = (sigma * normal(0, count, trials, 1, 1)).exp()
    weights = strength * entries + noise * float(entries.std(correction=0)) * normal(1, count, trials, 9, 9)
    stream = HeadStream(shape)
    stream.update(weights, count)
    interval = stream.result().interval
    # (E a)² of E a² + noise², in units of the kernel's variance.
    truth = math.exp(sigma**2) / (math.exp(2 * sigma**2) + noise**2)
    covered = int(((interval.low <= truth) & (truth <= interval.high)).sum())
    assert covered >= least, covered
