"""Law 21: how many extra channels plain attention needs for a log-mask."""

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv import kernels
from retconv.approximate import Channels, channels
from retconv.attention import bias_logits, extended_attention, forget_channels, shifted_gaussian_channels
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, RetNetMask
from tests.attention.cases import qkv
from tests.compare import assert_close
from tests.strategies import HEADS, every_grid, normal, uniform

F64 = torch.float64


def of_bias(bias: Tensor, grid: Grid, tolerance: float = 0.0, causal: bool | None = None) -> Channels:
    """Of logits that are added, neutral beside prefix tokens."""
    return channels(Forms.of_log(bias, grid), grid, tolerance, causal=causal)


def counts(made: Channels) -> list[int]:
    """Of every head, where they are exact and proved to be the least."""
    assert made.exact
    assert torch.equal(made.count, made.least)
    return made.count.tolist()


@settings(max_examples=5)
@every_grid
def test_law_21_count_is_the_least_over_constants_of_rows(shape: tuple[int, ...], seed: int) -> None:
    """No c makes the rank of L − c 1ᵀ less, and the means of rows make it that."""
    grid = Grid(shape)
    bias = kernel_to_mask(-grid.offsets().double().square().sum(dim=-1)[None], grid)
    (count,) = counts(of_bias(bias, grid))
    ranks = [
        int(torch.linalg.matrix_rank(bias[0] - c, atol=1e-9))
        for c in (bias[0].mean(dim=1, keepdim=True), *(normal(seed + i, grid.size, 1) for i in range(4)))
    ]
    assert min(ranks) == ranks[0] == count


@settings(max_examples=4)
@every_grid
def test_law_21_gaussian_has_an_axis_each_and_one(shape: tuple[int, ...], seed: int) -> None:
    """D + 1 on axes of at least three tokens; an axis of two lacks the square, and one of one token is none."""
    mask = GaussianMixtureMask.from_parameters(uniform(seed, 1.0, 3.0, HEADS, 1), uniform(seed + 1, 0.5, 2.0, HEADS, 1))
    expected = sum(n > 1 for n in shape) + (max(shape) > 2)
    assert counts(channels(mask, shape)) == [expected] * HEADS
    assert counts(channels(mask, Grid(shape, 1))) == [expected + 1] * HEADS


@pytest.mark.parametrize(("kind", "count"), [("full", 5), ("diagonal", 4), ("number", 3)])
def test_law_21_gaussian_of_each_query(kind: str, count: int) -> None:
    """In two dimensions, shifted: five with full covariance, four along the axes, three if it is round."""
    grid = Grid((4, 5))
    shift, free = normal(1, HEADS, 20, 2), normal(2, HEADS, 20, 2, 2)
    given = {"full": free @ free.mT, "diagonal": free.diagonal(dim1=-2, dim2=-1).abs(), "number": free[..., 0, 0].abs()}
    extra = shifted_gaussian_channels(shift, given[kind], grid)
    assert extra.query.shape[-1] == count
    assert counts(of_bias(extra.query @ extra.key.mT, grid)) == [count] * HEADS


@pytest.mark.parametrize("prefix", [0, 1])
def test_law_21_causal_decay_alibi_and_forget_gate_are_one_channel(prefix: int) -> None:
    grid, one = Grid(9, prefix), [1 + prefix] * HEADS
    assert counts(channels(RetNetMask(HEADS).double(), grid)) == one
    alibi = kernel_to_mask(kernels.alibi(grid.offsets(), uniform(1, 0.1, 1.0, HEADS)), grid, neutral=0.0)
    assert counts(of_bias(alibi, grid, causal=True)) == one
    gates = uniform(2, 0.2, 1.0, HEADS, 9).log()
    extra = forget_channels(gates, grid)
    assert extra.query.shape[-1] == one[0]
    total = gates.cumsum(dim=-1)
    bias = torch.zeros(HEADS, grid.length, grid.length, dtype=F64)
    bias[:, prefix:, prefix:] = total[:, :, None] - total[:, None]
    assert counts(of_bias(bias, grid, causal=True)) == one
    q, k, v = qkv(grid, 3)
    hidden = torch.ones_like(bias).triu(1).bool()
    hidden[:, :, :prefix] = hidden[:, :prefix] = False
    weights = bias.masked_fill(hidden, -torch.inf).exp()
    expected = bias_logits(q, k, v, weights, grid, backend="reference")
    assert_close(extended_attention(q, k, v, extra, grid, causal=True), expected)


@pytest.mark.parametrize("n", [2, 3, 8, 33])
def test_law_21_two_sided_decay_has_all_there_are(n: int) -> None:
    """N − 1, and so has KERPLE."""
    assert counts(channels(DecayMask(HEADS, "two_sided", 0.9).double(), n)) == [n - 1] * HEADS
    assert counts(of_bias(kernels.kerple_log(Grid(n).offsets(), uniform(1, 0.5, 2.0, HEADS), 0.5), Grid(n))) == (
        [n - 1] * HEADS
    )
    assert not channels(DecayMask(HEADS, "two_sided", 0.9).double(), n).saves


@pytest.mark.parametrize(("shape", "frequencies"), [((12,), 2), ((12,), 3), ((4, 5), 2)])
def test_law_21_two_channels_for_each_frequency(shape: tuple[int, ...], frequencies: int) -> None:
    """Of cosines that are added, Sandwich among them."""
    grid = Grid(shape)
    amplitude, frequency = uniform(1, 0.5, 1.0, HEADS, frequencies), uniform(2, 0.3, 2.0, frequencies, grid.ndim)
    bias = (amplitude[:, :, None] * torch.cos(grid.offsets().double().flatten(0, -2) @ frequency.mT).mT).sum(dim=1)
    assert counts(of_bias(bias.reshape(HEADS, *grid.kernel_shape), grid)) == [2 * frequencies] * HEADS
    if grid.ndim == 1:
        rates = 100.0 ** -torch.linspace(0, 1, frequencies, dtype=F64)
        sandwich = torch.cos(grid.offsets().double() * rates).sum(dim=-1)
        assert counts(of_bias(sandwich[None], grid)) == [2 * frequencies]


def test_law_21_locat_has_more_channels_on_every_larger_grid() -> None:
    """A Gaussian that is itself added to logits is no polynomial of the key's place."""
    numbers = []
    for n in (4, 8, 12):
        bias = kernels.gaussian(Grid(n).offsets(), torch.tensor([1.5], dtype=F64))
        numbers += counts(of_bias(bias, Grid(n)))
    assert numbers == [3, 7, 11]


def test_law_21_a_line_of_512_within_a_thousandth() -> None:
    """KERPLE saves nothing there: no fewer than 507 of 511 channels do. ALiBi: at least 413. Eckart and Young."""
    line = Grid(512)
    kerple = kernels.kerple_log(line.offsets(), torch.tensor([1.0], dtype=F64), 0.5)
    alibi = kernels.alibi(line.offsets(), torch.tensor([0.1], dtype=F64))
    for bias, least in ((kerple, 507), (alibi, 413)):
        made = of_bias(bias, line, 1e-3)
        assert float(made.error) <= 1e-3
        assert int(made.least) == least <= int(made.count)
