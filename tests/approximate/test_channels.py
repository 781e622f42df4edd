"""Extra channels of any mask: their number is the rank, the least of all, and their error is certified."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import settings

from retconv import kernels
from retconv.approximate import Channels, channels
from retconv.approximate.low_rank import Products, half_ranges
from retconv.attention import bias_logits, gpsa_channels, retention
from retconv.checks import tolerance
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, RetNetMask
from tests.approximate import naive_channels
from tests.attention.cases import qkv
from tests.compare import assert_close
from tests.strategies import HEADS, every_grid, normal, uniform

F64 = torch.float64


def log(kernel: torch.Tensor, grid: Grid) -> Forms:
    """The mask of a log-kernel, neutral beside prefix tokens."""
    return Forms.of_log(kernel_to_mask(kernel, grid, neutral=0.0), grid)


def rows(values: torch.Tensor) -> list[list[float | None]]:
    """As loops have them, None for what is hidden."""
    return [[None if x == -math.inf else x for x in row] for row in values.tolist()]


@pytest.mark.parametrize("prefix", [0, 2])
@settings(max_examples=4)
@every_grid
def test_count_is_the_rank_of_centred_rows(shape: tuple[int, ...], seed: int, prefix: int) -> None:
    """Of a Gaussian, of distances and of noise, in integers, of which fractions know the rank exactly."""
    grid = Grid(shape, prefix)
    offset = grid.offsets()
    whole = (
        -offset.square().sum(dim=-1),
        -offset.abs().sum(dim=-1),
        (8 * normal(seed, *grid.kernel_shape)).round().long(),
    )
    for kernel in whole:
        made = channels(log(kernel.to(F64)[None], grid), grid)
        entries = kernel_to_mask(kernel.to(F64)[None], grid, neutral=0.0)[0]
        assert made.count.tolist() == made.least.tolist() == [naive_channels.count(rows(entries))]
        assert made.exact


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12])
def test_count_under_causality_is_the_least_of_all_completions(n: int) -> None:
    """By the formula of ranks below the diagonal, with a row of ones for the constants: another way than ours."""
    offset = Grid(n).offsets()[:, 0]
    for kernel in (offset, -offset.square(), offset**3, (8 * normal(n, 2 * n - 1)).round().long()):
        made = channels(log(kernel.to(F64)[None], Grid(n)), n, causal=True)
        entries = kernel_to_mask(kernel.to(F64)[None], n)[0]
        assert made.count.tolist() == [naive_channels.causal_count(rows(entries))]
        assert made.causal
        assert made.exact
    assert made.count.tolist() == [n // 2], "of noise"
    diagonal = channels(log((offset == 0).to(F64)[None], Grid(n)), n, causal=True)
    assert diagonal.count.tolist() == [naive_channels.causal_count(rows(torch.eye(n, dtype=F64)))] == [n - 1]
    assert not diagonal.saves


def test_count_of_rows_that_see_ever_more() -> None:
    """In any order: causality is one such chain. Where a row sees nothing, nothing is asked."""
    values = (8 * normal(3, 6, 6)).round()
    expected = naive_channels.causal_count(rows(values))
    causal = values.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf)
    at, to = torch.tensor([2, 5, 0, 1, 4, 3]), torch.tensor([1, 0, 5, 3, 2, 4])
    made = channels(Forms.of_log(causal[at][:, to][None], 6), 6)
    assert made.count.tolist() == [expected]
    assert made.exact
    assert not made.causal
    blind = torch.cat([torch.full((1, 6), -math.inf, dtype=F64), causal[:5]])
    assert channels(Forms.of_log(blind[None], 6), 6).exact


def test_certificate_is_never_below_the_true_error() -> None:
    """1,000 random masks and factors of several scales, hidden entries among them, in exact arithmetic."""
    generator = torch.Generator().manual_seed(0)
    for case in range(1000):
        n, r = 2 + case % 3, case % 4
        values, query, key = (
            torch.randn(n, m, generator=generator, dtype=F64) * 10.0 ** (case % 7 - 3) for m in (n, r, r)
        )
        if case % 2:  # an error that is rounding, which cancellation makes most of
            values = query @ key.mT + torch.randn(n, 1, generator=generator, dtype=F64)
        seen = None
        if case % 5 == 0:
            seen = torch.ones(n, n).tril().bool()
            values = values.masked_fill(~seen, -math.inf)
        bound = float(half_ranges(values, Products(query, key), seen, constants=True))
        true = naive_channels.error(rows(values), query.tolist(), key.tolist())
        assert Fraction(bound) >= true
        size = float((query.abs() @ key.abs().mT).amax()) + float(values[values.isfinite()].abs().amax())
        assert bound <= float(true) + 1e-14 * size


@pytest.mark.parametrize("causal", [None, True])
@pytest.mark.parametrize("bound", [0.3, 0.01])
def test_tolerance_is_kept_and_the_least_number_is_below(bound: float, causal: bool | None) -> None:
    grid = Grid(24)
    for kernel in (
        kernels.kerple_log(grid.offsets(), uniform(1, 0.5, 1.0, HEADS), 0.5),
        kernels.alibi(grid.offsets(), uniform(2, 0.01, 0.05, HEADS)),
        normal(3, HEADS, 47),
    ):
        made = channels(log(kernel, grid), grid, bound, causal=causal)
        assert bool((made.error <= bound).all())
        assert bool((made.least <= made.count).all())
        for head in range(HEADS):
            entries = kernel_to_mask(kernel, grid)[head]
            seen = entries if causal is None else entries.masked_fill(torch.ones(24, 24).triu(1).bool(), -math.inf)
            true = naive_channels.error(rows(seen), made.query[head].tolist(), made.key[head].tolist())
            assert true <= Fraction(float(made.error[head]))
        assert bool((channels(log(kernel, grid), grid, causal=causal).count >= made.count).all())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_without_a_tolerance_the_error_is_rounding(dtype: torch.dtype) -> None:
    """Of smooth kernels too, whose completions of least rank divide by rounding; no block says that fewer would do."""
    grid, rate = Grid(48), torch.tensor([1.0], dtype=dtype)
    for kernel in (
        kernels.kerple_log(grid.offsets(), rate, 0.5),
        kernels.kerple_power(grid.offsets(), rate, 0.7),
        kernels.alibi(grid.offsets(), rate) + 2 * (grid.offsets()[:, 0] == 0).to(dtype),
    ):
        made = channels(log(kernel, grid), grid, causal=True)
        entries = kernel_to_mask(kernel, grid)[0].masked_fill(torch.ones(48, 48).triu(1).bool(), -math.inf)
        true = naive_channels.error(rows(entries), made.query[0].tolist(), made.key[0].tolist())
        assert true <= Fraction(float(made.error)) <= Fraction(tolerance(dtype) * float(made.scale))
        assert made.least <= made.count


@pytest.mark.parametrize("causal", [None, True])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_no_tolerance_that_is_met_contradicts_the_least_number(dtype: torch.dtype, causal: bool | None) -> None:
    """Of tables near 1, whose logarithms are rounded by more than their size says, and of smooth and stiff ones."""
    d = Grid(48).offsets()[:, 0].double()
    tables = {
        "slow decay": 0.999999 ** d.abs(),
        "wide": torch.exp(-d.square() / 2e4),
        "smooth": 1 / torch.cosh(0.1 * d),
        "heavy": 1 / (1 + d.square()),
        "near poles": 0.5 * 0.9 ** d.abs() + 0.5 * 0.9001 ** d.abs(),
    }
    for name, table in tables.items():
        for placement in ("bias_logits", "retention"):
            options = {"causal": causal, "placement": placement}
            made = channels(table.to(dtype)[None], 48, **options)
            again = channels(table.to(dtype)[None], 48, float(made.error), **options)
            assert int(again.count) >= int(made.least), (name, placement)


def test_heads_beside_it_leave_the_error_of_a_head() -> None:
    """Also where these take more channels."""
    few, many = (normal(r, 1, 30, r) @ normal(r + 1, 1, r, 30) for r in (2, 20))
    alone, beside = (channels(mask, 30, placement="retention") for mask in (few, torch.cat([few, many])))
    assert (alone.error[0], alone.count[0]) == (beside.error[0], beside.count[0])
    assert beside.rank == 20


@pytest.mark.parametrize("n", [1, 7, 64, 300])
def test_exponentials_that_multiply_scores_are_their_poles(n: int) -> None:
    """One channel for a real pole, of either sign, and two for another; with gradients, and exact on long lines."""
    poles = torch.tensor([[0.5, -0.9, 0.7 + 0.3j], [0.99, 0.2, 0.1 - 0.6j]], dtype=torch.complex128).requires_grad_()
    weights = torch.complex(normal(n, HEADS, 3), normal(n + 1, HEADS, 3))
    made = channels(kernels.Exponentials(weights, poles), n, placement="retention", causal=True)
    assert made.rank <= 4
    assert made.exact
    expected = [
        [sum((w * p ** (q - k)).real for w, p in zip(*head, strict=True)) if k <= q else None for k in range(n)]
        for head in zip(weights.tolist(), poles.tolist(), strict=True)
        for q in range(n)
    ]
    for u, w, table in zip(made.query, made.key, (expected[:n], expected[n:]), strict=True):
        entries = torch.tensor([[math.nan if x is None else x for x in row] for row in table], dtype=F64)
        assert_close((u @ w.mT).detach().tril(), entries.tril().nan_to_num())
    if n > 7:
        assert made.rank == 4
        assert torch.autograd.grad(made.query.sum() + made.key[..., :9, :].sum(), poles)[0].isfinite().all()


@pytest.mark.parametrize("pole", [0.0, 1e-9])
def test_powers_that_overflow_are_no_channels(pole: float) -> None:
    line = kernels.Exponentials(torch.ones(1, 1), torch.full((1, 1), pole))
    made = channels(line, 99, placement="retention", causal=True)
    assert made.exact
    assert made.query.isfinite().all()


def test_no_approximation_has_fewer_channels_than_the_least() -> None:
    """Eckart and Young: the truncated decomposition, the nearest of its rank, is further off in the mean than that."""
    grid = Grid(20)
    kernel = kernels.kerple_log(grid.offsets(), torch.tensor([1.0], dtype=F64), 0.5)
    values = kernel_to_mask(kernel, grid)[0]
    centred = values - values.mean(dim=1, keepdim=True)
    for bound in (0.3, 0.1, 0.03):
        fewest = int(channels(log(kernel, grid), grid, bound).least)
        assert fewest
        left, singular, right = torch.linalg.svd(centred)
        nearest = (left[:, : fewest - 1] * singular[: fewest - 1]) @ right[: fewest - 1]
        assert float((centred - nearest).square().mean().sqrt()) > bound


def served(name: str, grid: Grid) -> object:
    """Masks that have a logarithm of few channels, with two heads that differ."""
    return {
        "decay": RetNetMask(HEADS).double(),
        "gaussian": GaussianMixtureMask.from_parameters(uniform(4, 2.0, 3.0, HEADS, 1), uniform(5, 0.5, 2.0, HEADS, 1)),
        "gpsa": log(kernels.gpsa(grid.offsets(), uniform(6, 0.1, 0.2, HEADS), normal(7, HEADS, 1)), grid),
        "two-sided": DecayMask(HEADS, "two_sided").double(),
    }[name]


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(("name", "count"), [("decay", 1), ("gaussian", 2), ("gpsa", 2), ("two-sided", 8)])
def test_attention_by_channels_is_that_of_the_mask(name: str, count: int, prefix: int) -> None:
    grid = Grid(9, prefix)
    mask, (q, k, v) = served(name, grid), qkv(grid, 8)
    made = channels(mask, grid)
    assert made.count.tolist() == [count + prefix] * HEADS
    assert made.saves == (name != "two-sided")
    assert_close(made.attend(q, k, v, scale=0.4), bias_logits(q, k, v, mask, grid, scale=0.4, backend="reference"))


def test_a_gaussian_of_weight_0_hides_every_key() -> None:
    """Beside another head, whose closed form is the shortest."""
    sigma, alpha = torch.full((2, 1), 2.0).double(), torch.tensor([[1.0], [0.0]]).double()
    mask, (q, k, v) = GaussianMixtureMask.from_parameters(sigma, alpha), qkv(Grid(5), 8)
    assert_close(channels(mask, 5).attend(q, k, v), bias_logits(q, k, v, mask, 5, backend="reference"))


def test_a_chain_that_is_not_causal_is_hidden_by_a_bias() -> None:
    grid, (q, k, v) = Grid(9), qkv(Grid(9), 9)
    future = kernels.causal_decay(-grid.offsets(), uniform(9, 0.3, 0.9, HEADS))
    made = channels(future, grid)
    assert made.count.tolist() == [1, 1]
    assert not made.causal
    assert_close(made.attend(q, k, v), bias_logits(q, k, v, future, grid, backend="reference"))


def test_closed_forms_carry_gradients_and_the_others_a_batch() -> None:
    mask = RetNetMask(HEADS, learnable=True).double()
    channels(mask, 9).query.sum().backward()
    assert float(mask.log_rate.grad.abs().sum()) > 0
    entries = torch.stack([kernel_to_mask(kernels.alibi(Grid(5).offsets(), normal(i, HEADS).abs()), 5) for i in (1, 2)])
    forms = Forms(Grid(5), HEADS, {"entries": entries.exp(), "log": entries})
    made = channels(forms, 5, causal=True)
    assert made.query.shape == (2, HEADS, 5, 1)
    assert made.count.tolist() == made.least.tolist() == [[1, 1], [1, 1]]
    q, k, v = qkv(Grid(5), 3)
    each = [bias_logits(*(x[i : i + 1] for x in (q, k, v)), entries[i].exp().tril(), 5) for i in (0, 1)]
    assert_close(made.attend(q, k, v), torch.cat(each))


def test_float32_masks_have_the_channels_of_their_closed_form() -> None:
    """Rounding of their entries is no channel."""
    gaussian = GaussianMixtureMask.from_parameters(torch.tensor([[2.0], [5.0]]), torch.ones(2, 1))
    assert channels(gaussian, (6, 7)).count.tolist() == [3, 3]
    table = kernel_to_mask(kernels.gpsa(Grid((6, 7)).offsets(), torch.tensor([0.1, 0.7])), (6, 7))
    made = channels(Forms.of_log(table, (6, 7)), (6, 7))
    assert made.count.tolist() == [3, 3]
    assert made.exact
    assert float(made.error.max()) <= tolerance(torch.float32) * float(made.scale.max())
    assert gpsa_channels(torch.tensor([0.1, 0.7]), (6, 7)).query.shape[-1] == 3


def test_retention_multiplies_features() -> None:
    """cosFormer: (S ⊙ M) V of a cosine is retention without a mask, of features twice as many."""
    grid, (q, k, v) = Grid(9), qkv(Grid(9), 10)
    mask = torch.cos(grid.offsets()[:, 0] * torch.tensor([[0.2], [0.1]], dtype=F64))
    made = channels(mask, grid, placement="retention")
    assert made.count.tolist() == made.least.tolist() == [2, 2]
    longer = [(x[..., None] * y[:, :, None]).flatten(-2) for x, y in ((q, made.query), (k, made.key))]
    plain = torch.ones(1, 17, dtype=F64)
    assert_close(retention(*longer, v, plain, grid, scale=1.0), retention(q, k, v, mask, grid, scale=1.0))
    decay = channels(kernels.causal_decay(grid.offsets(), torch.tensor([0.5], dtype=F64)), grid, placement="retention")
    assert (int(decay.count), decay.causal, decay.saves) == (9, False, False)
    made = channels(kernels.two_sided_decay(grid.offsets(), 0.5), grid, placement="retention", causal=True)
    assert isinstance(made, Channels)
    assert (int(made.count), made.causal, made.saves) == (1, True, True)
