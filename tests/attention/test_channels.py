"""Extra channels in closed form: each is the log-mask of the loops, and attention with them that of the dense bias."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv import attention
from retconv.attention import PLACEMENTS, ExtraChannels, attend, backends, bias_logits, extended_attention
from retconv.attention.channels import largest_term
from retconv.attention.inputs import Call
from retconv.grid import Grid
from retconv.kernels import Decay
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, MaskLike, RetNetMask
from tests import naive
from tests.attention import naive_channels as loops
from tests.attention.cases import qkv
from tests.compare import assert_close
from tests.strategies import DTYPES, HEADS, every_grid, normal, on_grids, uniform

F64 = torch.float64
#: A channel for each axis of two tokens or more, one for the square, and others, by the kind of precision.
KINDS = ("number", "diagonal", "full")


def assert_channels(extra: ExtraChannels, entries: Callable[[int, int, int], float], grid: Grid, dtype: Any) -> None:
    """``u · w`` is the log-mask of (head, query, key) up to a constant of each row, wherever keys are visible."""
    size = range(grid.size)
    rows = [loops.neutral([[entries(h, i, j) for j in size] for i in size], grid.prefix) for h in range(HEADS)]
    log = torch.tensor(rows, dtype=F64)
    assert extra.query.dtype == extra.key.dtype == dtype
    product = extra.query.double() @ extra.key.double().mT
    rest = (product - log).masked_fill(log.isneginf(), 0.0)
    # The first of all keys is visible to every query.
    left = (rest - rest[..., :1]).masked_fill(log.isneginf(), 0.0)
    scale = max(1.0, float(log[log.isfinite()].abs().max()), largest_term(extra))
    assert_close(left + scale, torch.full_like(left, scale), dtype)


def tokens(grid: Grid) -> list[tuple[int, ...]]:
    return naive.positions(grid.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=5)
@every_grid
def test_gaussians(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    grid = Grid(shape, prefix=seed % 3)
    sigma, alpha = uniform(seed, 1.0, 4.0, HEADS, dtype=dtype), uniform(seed + 1, 0.5, 2.0, HEADS, dtype=dtype)
    center, at = normal(seed, HEADS, grid.ndim, dtype=dtype), tokens(grid)
    s, a, c = sigma.tolist(), alpha.tolist(), center.tolist()
    extra = attention.gaussian_channels(sigma, grid, alpha)
    assert_channels(extra, lambda h, i, j: loops.gaussian(at[i], at[j], s[h], a[h]), grid, dtype)
    expected = sum(n > 1 for n in shape) + (max(shape) > 2) + bool(grid.prefix)
    assert extra.query.shape[-1] == expected
    extra = attention.gpsa_channels(alpha, grid, center)
    assert_channels(extra, lambda h, i, j: loops.gpsa(at[i], at[j], a[h], c[h]), grid, dtype)
    assert extra.query.shape[-1] == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=4)
@every_grid
def test_gaussians_of_each_query(shape: tuple[int, ...], seed: int, dtype: torch.dtype, kind: str) -> None:
    grid = Grid(shape, prefix=seed % 2)
    n, d, at = grid.size, grid.ndim, tokens(grid)
    shift = normal(seed, HEADS, n, d, dtype=dtype)
    free = normal(seed + 1, HEADS, n, d, d, dtype=dtype)
    given = {"full": free, "diagonal": free.diagonal(dim1=-2, dim2=-1), "number": free[..., 0, 0]}[kind]
    whole = {
        "full": free,
        "diagonal": torch.diag_embed(free.diagonal(dim1=-2, dim2=-1)),
        "number": free[..., :1, :1] * torch.eye(d, dtype=dtype),
    }[kind]
    mu, a = shift.tolist(), whole.tolist()
    extra = attention.shifted_gaussian_channels(shift, given, grid)
    assert_channels(extra, lambda h, i, j: loops.shifted_gaussian(at[i], at[j], mu[h][i], a[h][i]), grid, dtype)
    several, long = sum(m > 1 for m in shape), sum(m > 2 for m in shape)
    squares = {"number": min(long, 1), "diagonal": long, "full": long + several * (several - 1) // 2}[kind]
    assert extra.query.shape[-1] == several + squares + grid.prefix


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=5)
@on_grids((1,))
def test_one_channel_under_causality(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    grid = Grid(shape, prefix=seed % 3)
    gamma, gates = (
        uniform(seed, 0.3, 0.99, HEADS, dtype=dtype),
        uniform(seed, 0.1, 1.0, HEADS, *shape, dtype=dtype).log(),
    )
    g, logs = gamma.tolist(), gates.tolist()
    count = (grid.size > 1) + bool(grid.prefix)
    for extra, entry in (
        (attention.decay_channels(gamma, grid), lambda h, i, j: loops.decay(i, j, g[h])),
        (attention.alibi_channels(-gamma.double().log(), grid).to(dtype), lambda h, i, j: loops.decay(i, j, g[h])),
        (attention.forget_channels(gates, grid), lambda h, i, j: loops.forget(i, j, logs[h])),
    ):
        assert_channels(extra, entry, grid, dtype)
        assert extra.query.shape[-1] == count


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=5)
@every_grid
def test_two_channels_for_each_frequency(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    grid, at = Grid(shape, prefix=seed % 3), tokens(Grid(shape))
    amplitude, phase = normal(seed, HEADS, 3, dtype=dtype), normal(seed + 1, HEADS, 3, dtype=dtype)
    frequency = normal(seed + 2, 3, grid.ndim, dtype=dtype)
    a, w, p = amplitude.tolist(), frequency.tolist(), phase.tolist()
    extra = attention.cosine_channels(amplitude, frequency, grid, phase)
    assert extra.query.shape[-1] == 6
    assert_channels(extra, lambda h, i, j: loops.cosines(at[i], at[j], a[h], w, p[h]), grid, dtype)
    extra = attention.cosine_channels(amplitude, frequency, grid)
    assert_channels(extra, lambda h, i, j: loops.cosines(at[i], at[j], a[h], w, [0.0] * 3), grid, dtype)


def dense(extra: ExtraChannels, causal: bool, grid: Grid) -> Tensor:
    """The bias that channels are."""
    bias = extra.query @ extra.key.mT
    at = torch.arange(grid.length)
    hidden = (at > at[:, None]) & (at >= grid.prefix) & (at >= grid.prefix)[:, None]
    return bias.masked_fill(hidden, -torch.inf) if causal else bias


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", ["forget", "shifted"])
def test_extended_attention_is_that_of_the_dense_bias(name: str, biased: bool, prefix: int) -> None:
    """Of channels with a batch: outputs, and gradients to what the channels are made of."""
    grid = Grid((7,) if name == "forget" else (3, 4), prefix)
    inputs = list(qkv(grid, 3))
    if name == "forget":
        inputs.append(uniform(4, 0.3, 1.0, 2, HEADS, grid.size).log())
    else:
        spread = normal(6, 2, HEADS, grid.size, 2, 2)
        inputs += [normal(5, 2, HEADS, grid.size, 2), spread @ spread.mT]
    added = normal(7, 1, HEADS, grid.length, grid.length) if biased else None
    neutral = torch.ones(1, *grid.kernel_shape, dtype=F64)
    results = []
    for fast in (True, False):
        q, k, v, *given = leaves = [x.clone().requires_grad_() for x in inputs]
        make = attention.forget_channels if name == "forget" else attention.shifted_gaussian_channels
        extra = make(*given, grid)
        if fast:
            out = extended_attention(q, k, v, extra, grid, causal=name == "forget", bias=added, scale=0.7)
        else:
            bias = dense(extra, name == "forget", grid)
            bias = bias if added is None else bias + added
            out = attend(q, k, v, neutral, grid, bias=bias, scale=0.7, placement="bias_logits", backend="reference")
        results.append([out, *torch.autograd.grad((out * normal(8, *out.shape)).sum(), leaves)])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)
    if name == "forget":
        assert not results[0][4][..., 0].any(), "gate 1 is never used"


def check_backend(grid: Grid, seed: int, dtype: torch.dtype, biased: bool) -> None:
    """As the reference in float64, gradients to γ included."""
    start = uniform(seed, 0.5, 0.95, HEADS, dtype=dtype)
    added = normal(seed, 1, HEADS, grid.length, grid.length, dtype=dtype) if biased else None
    results = []
    for backend, wide in (("channels", dtype), ("reference", F64)):
        leaves = [x.to(wide).requires_grad_() for x in (*qkv(grid, seed, dtype), start.clone())]
        q, k, v, gamma = leaves
        bias = added if added is None else added.to(wide)
        out = bias_logits(q, k, v, Decay(gamma, causal=True), grid, backend=backend, bias=bias)
        upstream = normal(seed + 30, *out.shape, dtype=dtype).to(wide)
        gradients = torch.autograd.grad((out * upstream).sum(), leaves, allow_unused=True, materialize_grads=True)
        # Together, since those of a single token's queries are 0 up to rounding.
        results.append([out, torch.cat([gradient.flatten() for gradient in gradients])])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("biased", [False, True])
@settings(max_examples=4)
@on_grids((1,))
def test_backend_channels_serves_a_causal_decay(shape: tuple[int, ...], seed: int, biased: bool) -> None:
    check_backend(Grid(shape, prefix=seed % 2), seed, F64, biased)


@pytest.mark.parametrize("prefix", [0, 1])
def test_backend_channels_in_float32(prefix: int) -> None:
    check_backend(Grid(40, prefix), 2, torch.float32, biased=False)


def test_backend_channels_learns_gamma() -> None:
    mask, grid, (q, k, v) = RetNetMask(HEADS, learnable=True).double(), Grid(9, 1), qkv(Grid(9, 1), 2)
    gradients = []
    for backend in ("channels", "reference"):
        out = bias_logits(q, k, v, mask, grid, backend=backend)
        gradients += torch.autograd.grad(out.square().sum(), mask.log_rate)
    assert_close(*gradients)
    with pytest.raises(ValueError, match="nor a causal decay"):
        bias_logits(q, k, v, DecayMask(HEADS, "two_sided").double(), grid, backend="channels")


def choice(mask: MaskLike, grid: Grid, dtype: torch.dtype = torch.float32) -> str:
    q = torch.zeros(1, HEADS, grid.length, 4, dtype=dtype)
    return backends.choose(Call(PLACEMENTS["bias_logits"], q, q, q, Forms.of(mask, grid), 1.0, None, 0.0))


def test_auto_takes_the_channel_of_a_decay_where_it_is_faster_and_precise() -> None:
    long = Grid(backends.CUTS.table)
    assert choice(RetNetMask(HEADS, 0.99), long) == "channels"
    assert choice(RetNetMask(HEADS, 0.99), Grid(512)) != "channels", "a bias is as fast"
    assert choice(RetNetMask(HEADS, 0.9), long) != "channels", "terms of 54 logits"
    assert choice(RetNetMask(HEADS, 0.99), long, torch.bfloat16) != "channels", "terms of 5 logits"
    learnt = RetNetMask(HEADS, 0.99, learnable=True)
    assert choice(learnt, Grid(backends.LEARNT)) == "channels"
    assert choice(RetNetMask(HEADS, 0.96, learnable=True), long) != "channels", "its gradient is less precise"
    with torch.no_grad():
        assert choice(learnt, Grid(backends.LEARNT)) != "channels"
    assert choice(DecayMask(HEADS, "two_sided", 0.99), long) != "channels"


@pytest.mark.parametrize("prefix", [0, 1])
def test_a_gaussian_of_weight_0_hides_every_key_however_many(prefix: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where channels are the fastest too, which have no logarithm of 0."""
    monkeypatch.setattr(backends, "CUTS", backends.CUTS._replace(table=8))
    grid, alpha = Grid((3, 4), prefix=prefix), torch.tensor([[1.0], [0.0]], dtype=F64)
    mask = GaussianMixtureMask.from_parameters(torch.full_like(alpha, 2.0), alpha)
    q, k, v = qkv(grid, 7)
    with torch.no_grad():
        assert choice(GaussianMixtureMask.from_parameters(alpha + 2, alpha + 1), grid, F64) == "channels"
        assert_close(bias_logits(q, k, v, mask, grid), bias_logits(q, k, v, mask, grid, backend="reference"))


def test_weights_of_stacked_masks_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they share the width: what decides is then the plain way."""
    monkeypatch.setattr(backends, "CUTS", backends.CUTS._replace(table=8))
    grid = Grid((3, 4))
    q, k, v = qkv(grid, 7)
    mask = GaussianMixtureMask.from_parameters(torch.full((HEADS, 1), 2.0, dtype=F64), torch.ones(HEADS, 1, dtype=F64))
    mask.requires_grad_(False)

    def attend(alpha: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(Attend(mask, grid), {"mask.alpha": alpha}, (q, k, v))

    alphas = torch.stack([mask.alpha, 2 * mask.alpha])
    assert_close(torch.vmap(attend)(alphas), torch.stack([attend(alpha) for alpha in alphas]))


class Attend(torch.nn.Module):
    """Attention with a mask's logarithm, whose parameters can be given."""

    def __init__(self, mask: GaussianMixtureMask, grid: Grid) -> None:
        super().__init__()
        self.mask, self.grid = mask, grid

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return bias_logits(q, k, v, self.mask, self.grid)


def test_a_long_line_in_float16_is_not_for_channels() -> None:
    """Squares of places overflow there, however wide the Gaussian is."""
    wide = GaussianMixtureMask.from_parameters(torch.full((HEADS, 1), 2000.0), torch.ones(HEADS, 1))
    wide.requires_grad_(False)
    assert choice(wide, Grid(backends.CUTS.table)) == "channels"
    assert choice(wide, Grid(backends.CUTS.table), torch.float16) != "channels"


@pytest.mark.parametrize("shape", [(), (12,), (12, 12), (HEADS, 12, 12)])
def test_biases_of_few_axes(shape: tuple[int, ...]) -> None:
    grid, (q, k, v), bias = Grid((3, 4)), qkv(Grid((3, 4)), 5), normal(9, 1, *shape)[0]
    mask = GaussianMixtureMask.from_parameters(torch.full((HEADS, 1), 2.0, dtype=F64), torch.ones(HEADS, 1, dtype=F64))
    outs = [bias_logits(q, k, v, mask, grid, bias=bias, backend=backend) for backend in ("channels", "reference")]
    assert_close(*outs)


def test_channels_of_one_head_serve_all() -> None:
    grid, (q, k, v) = Grid((3, 4)), qkv(Grid((3, 4)), 5)
    extra = attention.gaussian_channels(torch.tensor([2.0], dtype=F64), grid)
    assert_close(
        extended_attention(q, k, v, extra, grid),
        extended_attention(q, k, v, ExtraChannels(*(x.expand(2, HEADS, -1, -1) for x in extra)), grid),
    )


def test_channels_of_integers_are_those_of_the_numbers() -> None:
    """Whole angles, gates and means are not made whole cosines."""
    two, one = torch.tensor([[2]]), torch.tensor([[1]])
    pairs = [
        (attention.cosine_channels(two, one, 3), attention.cosine_channels(two.float(), one.float(), 3)),
        (
            attention.shifted_gaussian_channels(two.expand(1, 4, 2), two.expand(1, 4), (2, 2)),
            attention.shifted_gaussian_channels(two.expand(1, 4, 2).float(), two.expand(1, 4).float(), (2, 2)),
        ),
        (attention.forget_channels(-two.expand(1, 3)), attention.forget_channels(-two.expand(1, 3).float())),
    ]
    for actual, expected in pairs:
        for ours, theirs in zip(actual, expected, strict=True):
            assert ours.dtype == torch.float32
            assert_close(ours, theirs)
