"""The effective kernel: against loops, and with planted truths; law 19 by theory and by gradient."""

import math

import pytest
import torch
from hypothesis import settings

from retconv.analysis.effective import (
    EffectiveKernel,
    compose,
    composed_sigma,
    effective_kernel,
    gradient_field,
    spread,
)
from retconv.analysis.spectrum import symbol
from retconv.convert import kernel_to_mask, project, resize
from retconv.grid import Grid
from retconv.kernels import causal_decay, gaussian, gaussian_mixture, manhattan_decay
from tests import naive
from tests.analysis import naive_effective as by_loops
from tests.analysis.cases import as_real, f64
from tests.analysis.checks import Stack, attention, check_effective, check_gradient_field
from tests.compare import assert_close
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, normal, uniform


@settings(max_examples=15)
@every_grid
def test_effective_kernel_and_shares_by_loops(shape: tuple[int, ...], seed: int) -> None:
    if math.prod(shape) > 1:
        check_effective(shape, seed)


@every_grid
def test_streaming_does_not_depend_on_the_batches(shape: tuple[int, ...], seed: int) -> None:
    """One batch of seven, seven of one, and uneven ones with an empty one: one result."""
    if math.prod(shape) == 1:
        return
    weights = attention(shape, seed, images=7, prefix=2)
    grid = Grid(shape, prefix=2)
    whole = effective_kernel(weights, grid)
    for sizes in ([1] * 7, [4, 0, 1, 2]):
        parts = effective_kernel(iter(weights.split(sizes)), grid)
        assert parts.count == 7
        for name in ("kernel", "mean", "explained", "position", "content", "residual"):
            assert_close(getattr(parts, name), getattr(whole, name))
    assert_close(whole.kernel, effective_kernel(weights[..., 2:, 2:], shape).kernel)


# --- planted truths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(24,), (6, 8)])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
def test_planted_kernel_is_recovered_with_the_share_that_was_planted(shape: tuple[int, ...], noise: float) -> None:
    """Attention = known kernel + noise: that kernel, and signal variance over signal and noise variance."""
    kernel, images = kernel_of(shape, 0), 200
    mask = kernel_to_mask(kernel, shape)
    stream = EffectiveKernel(shape)
    for batch in range(images // 20):
        stream.update(mask + noise * normal(batch, 20, *mask.shape))
    found = stream.result()
    variance = mask.var(dim=(1, 2), correction=0)
    assert float((found.explained - variance / (variance + noise**2)).abs().max()) < 0.01
    pairs = images * Grid(shape).pair_count()
    assert float(((found.kernel - kernel) * pairs.sqrt()).abs().max()) <= 4.5 * noise + 1e-11, "standard errors"
    if noise == 0:
        assert float(found.residual.max()) < 1e-7
        assert_close(found.kernel, kernel)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_attention_gives_a_flat_kernel_and_no_variance_to_explain(dtype: torch.dtype) -> None:
    weights = torch.zeros(3, 2, 12, 12, dtype=dtype).softmax(dim=-1)
    found = effective_kernel(weights, (3, 4))
    assert_close(found.kernel, torch.full((2, 5, 7), 1 / 12, dtype=torch.float64), dtype)
    assert bool(found.explained.isnan().all())
    assert float(found.residual.max()) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_of_half_types_varies_if_by_more_than_rounding(dtype: torch.dtype) -> None:
    """By a few parts in a hundred, which their rounding leaves."""
    wave = kernel_to_mask(torch.cos(torch.arange(-63, 64) / 3)[None], 64)
    weights = ((1 + 0.03 * wave) / 64).expand(8, 1, 64, 64)
    assert float(effective_kernel(weights.to(dtype), 64).explained) > 0.95
    uneven = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 1e-3
    assert bool(effective_kernel(((1 + uneven) / 64).to(dtype), 64).explained.isnan())


def test_permuted_grid_explains_about_nothing() -> None:
    """The same attention on shuffled tokens: neighbours are no longer neighbours, and only the self-weight is left."""
    shape = (12, 12)
    scores = kernel_to_mask(gaussian(Grid(shape).offsets(), f64([3.0])).log(), shape)
    weights = scores.softmax(dim=-1)[None]
    order = torch.randperm(144, generator=torch.Generator().manual_seed(0))
    straight, permuted = effective_kernel(weights, shape), effective_kernel(weights[..., order, :][..., order], shape)
    assert float(straight.explained) > 0.8
    assert float(permuted.explained) < 0.1
    assert float(permuted.position) > 0.9


@pytest.mark.parametrize(
    ("shape", "kernel", "one_sum"),
    [
        ((2,), [0.5, 1.0, 0.5], True),
        ((2,), [0.5, 1.0, 0.0], False),
        ((3,), [0.25, 0.5, 1.0, 0.5, 0.25], False),
        ((2, 2), [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]], True),
        ((1, 3), [[0.25, 0.5, 1.0, 0.5, 0.25]], False),
        ((3,), [1.0] * 5, True),
        ((3,), [0.25, 0.5, 1.0, 0.25, 0.5], True),  # of period 3
        ((3,), [0.25, 0.5, -1.0, 0.25, 0.5], True),
    ],
)
def test_law_17_a_row_normalised_mask_has_a_kernel_iff_its_rows_have_one_sum(
    shape: tuple[int, ...], kernel: list[object], one_sum: bool
) -> None:
    """Powers of 1/2, so that equal sums are equal bits."""
    mask = kernel_to_mask(f64([kernel]), shape)
    sums = mask.sum(dim=-1, keepdim=True)
    assert bool((sums == sums[:, :1]).all()) == one_sum
    assert (float(project(mask / sums, shape).residual) == 0) == one_sum


def test_law_17_softmax_of_a_mask_has_no_kernel_at_the_border() -> None:
    """Its residual is largest in the corner, where a row lost most of its keys."""
    shape = (9, 9)
    weights = (3 * kernel_to_mask(gaussian(Grid(shape).offsets(), f64([2.0])), shape)).softmax(dim=-1)
    residual = effective_kernel(weights[None], shape).residual[0]
    assert float(residual[0, 0]) > 1.5 * float(residual[2:7, 2:7].max())
    assert_close(residual, residual.flip(0))


# --- law 19: stacks of layers ---------------------------------------------------------------------------------------


@settings(max_examples=15)
@every_grid
def test_composed_kernel_is_the_convolution(shape: tuple[int, ...], seed: int) -> None:
    first, second = kernel_of(shape, seed), kernel_of(shape, seed + 1)
    whole = compose([first, second])
    assert tuple(whole.shape[1:]) == tuple(4 * n - 3 for n in shape)
    for head in range(HEADS):
        pairs = by_loops.composed(first[head].flatten().tolist(), second[head].flatten().tolist(), shape)
        expected = [pairs[offset] for offset in naive.offsets([2 * n - 1 for n in shape])]
        assert_close(whole[head].flatten(), expected)
    theta = uniform(seed, -3.0, 3.0, 5, len(shape))
    assert_close(as_real(symbol(whole, theta)), as_real(symbol(first, theta) * symbol(second, theta)))


def test_compose_of_many_layers_and_of_one_head_for_all() -> None:
    kernel = kernel_of((4,), 0)
    assert_close(compose([kernel]), kernel)
    assert_close(compose([kernel, kernel[:1], kernel]), compose([compose([kernel, kernel]), kernel[:1]]))


@pytest.mark.parametrize("sigmas", [[1.0, 2.0], [1.5] * 6, [0.7, 3.0, 1.1]])
def test_law_19_variances_of_gaussians_add(sigmas: list[float]) -> None:
    """σ_eff² = Σ σ_l², on each axis, for the composed kernel; wide Gaussians compose to a Gaussian."""
    grid = Grid((25, 25))
    kernels = [gaussian(grid.offsets(), f64([s])) for s in sigmas]
    expected = float(composed_sigma(f64(sigmas)))
    assert expected == pytest.approx(math.sqrt(sum(s * s for s in sigmas)))
    assert spread(compose(kernels), 2)[0].tolist() == pytest.approx([expected] * 2, rel=2e-3)


def test_spread_is_the_standard_deviation_about_the_mean() -> None:
    assert spread(f64([[0, 1, 0, -1, 0], [0, 0, 3, 0, 0]]), 1).flatten().tolist() == pytest.approx([1, 0])
    assert spread(f64([[1, 1], [0, 0]]), 2).tolist() == pytest.approx([0, 0.5])
    decay = causal_decay(Grid(300).offsets(), f64([0.8]))
    assert float(spread(decay, 1)) == pytest.approx(math.sqrt(0.8) / 0.2)
    assert spread(decay.expand(2, 3, -1), 1).shape == (2, 3, 1)


@pytest.mark.parametrize("query", [(2, 3), (0, 0), (4, 1)])
def test_law_19_gradient_of_a_linear_stack_is_the_row_of_the_product(query: tuple[int, int]) -> None:
    check_gradient_field(query)


def test_law_19_gradient_field_is_the_composed_kernel_away_from_the_border() -> None:
    """Flipped in no axis: the input at p reaches query q by offset p − q; the default query is the middle."""
    grid = Grid((31, 33))
    small = [(grid.offsets().abs() <= 3).all(dim=-1) * kernel_of((31, 33), seed, heads=1) for seed in (0, 1)]
    field = gradient_field(Stack(small, grid), normal(0, 1, grid.size, 1), grid)
    composed = resize(compose(small), grid)[0].abs()
    assert float((field - composed[15:46, 16:49]).abs().max()) <= 1e-11 * float(field.max())


def test_gradient_field_leaves_prefix_tokens_out_and_averages_inputs() -> None:
    """Of y = x² at the query alone: 2 |x|, mean over inputs, sum over channels."""
    grid = Grid((2, 3), prefix=1)
    x = normal(0, 5, 7, 2)
    field = gradient_field(lambda v: v.square(), x, grid, (1, 0))
    expected = torch.zeros(2, 3, dtype=torch.float64)
    expected[1, 0] = 2 * x[:, 4].abs().sum(dim=1).mean()
    assert_close(field, expected)


def test_law_19_depth_reaches_as_its_root() -> None:
    """Four times the layers, twice the reach, for any kernel that decays."""
    kernel = manhattan_decay(Grid((20, 20)).offsets(), f64([0.5]))
    reach = [float(spread(compose([kernel] * layers), 2)[0, 0]) for layers in (1, 4, 16)]
    assert reach[1] / reach[0] == pytest.approx(2, rel=1e-9)
    assert reach[2] / reach[0] == pytest.approx(4, rel=1e-9)
    mixed = gaussian_mixture(Grid(30).offsets(), f64([[0.5, 2.0]]), f64([[1.0, 0.5]]))
    assert float(spread(compose([mixed] * 9), 1)) == pytest.approx(3 * float(spread(mixed, 1)))


def test_planted_mixture_and_decay_are_fitted() -> None:
    """Attention that is a mixture on average: its σ and α come back, and a decay's γ likewise."""
    grid = Grid((7, 7))
    noise = 1e-6 * normal(0, 8, 1, 49, 49)
    mixed = kernel_to_mask(gaussian_mixture(grid.offsets(), f64([[2.0, 0.5]]), f64([[0.6, -0.4]])), grid)
    fit_ = effective_kernel(mixed + noise, grid).gaussian_mixture(2)
    assert fit_.mask.sigma.abs().sort().values.flatten().tolist() == pytest.approx([0.5, 2.0], rel=1e-3)
    assert float(fit_.relative) < 1e-4
    decay = kernel_to_mask(0.1 * manhattan_decay(grid.offsets(), f64([0.8])), grid)
    fitted = effective_kernel(decay + noise, grid).decay()
    assert (float(fitted.gamma), float(fitted.scale)) == (pytest.approx(0.8, rel=1e-4), pytest.approx(0.1, rel=1e-4))


def test_attention_of_no_heads_has_no_kernel() -> None:
    effective = effective_kernel(torch.zeros(2, 0, 3, 3), 3)
    assert (effective.kernel.shape, effective.explained.shape) == ((0, 5), (0,))


def test_attention_of_inference_mode_and_after_it_is_one_stream() -> None:
    whole = EffectiveKernel(5)
    weights = torch.rand(4, 2, 5, 5).softmax(dim=-1)
    with torch.inference_mode():
        whole.update(weights[:2].clone())
        field = gradient_field(lambda x: 2 * x, torch.rand(1, 5, 2), 5)
    whole.update(weights[2:])
    assert_close(whole.result().mean, effective_kernel(weights, 5).mean)
    assert field.tolist() == [0, 0, 4, 0, 0]
