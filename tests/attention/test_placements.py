"""Every placement of a mask in attention: its formula, its laws, and what one passes to it."""

from functools import partial

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv.attention import PLACEMENTS, attend, bias_logits, convolution, multiply_logits, multiply_weights, retention
from retconv.checks import tolerance
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import alibi, window
from retconv.masks import DecayMask, ElementwiseMask, GaussianMixtureMask, KernelTableMask, RetNetMask
from tests.attention import cases
from tests.attention.cases import SOFTMAX, bias_for, check_against_loops, kernel_for, loops, qkv
from tests.compare import assert_close, assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, mask_of, normal

F32, F64 = torch.float32, torch.float64
every_placement = pytest.mark.parametrize("placement", PLACEMENTS)
every_softmax = pytest.mark.parametrize("placement", SOFTMAX)


@pytest.mark.parametrize("dtype", DTYPES)
@every_placement
@settings(max_examples=15)
@every_grid
def test_placement_is_its_formula(shape: tuple[int, ...], seed: int, placement: str, dtype: torch.dtype) -> None:
    check_against_loops(placement, shape, seed, dtype)


@every_placement
@pytest.mark.parametrize("prefix", [0, 1, 4])
def test_every_prefix_is_neutral(placement: str, prefix: int) -> None:
    """Class token and registers: 1 in the mask, which is 0 in its logarithm."""
    grid = Grid((3, 4), prefix)
    q, k, v = qkv(grid, 1)
    kernel = kernel_for(placement, grid.shape, 1)
    expected, _ = loops(placement, q, k, v, kernel, grid, None, q.shape[-1] ** -0.5)
    assert_close(attend(q, k, v, kernel, grid, placement=placement), expected)


@every_placement
def test_kernel_mask_and_module_are_the_same(placement: str) -> None:
    grid = Grid((2, 3), prefix=1)
    q, k, v = qkv(grid, 2)
    module = DecayMask(HEADS, gamma=torch.tensor([0.5, 0.8])).double()
    by_module, by_kernel, by_tensor = (
        attend(q, k, v, mask, grid, backend="reference", placement=placement)
        for mask in (module, module.kernel(grid), module(grid))
    )
    assert_exact(by_kernel, by_tensor)
    # The logarithm of a decay is a closed form of its own.
    (assert_close if placement == "bias_logits" else assert_exact)(by_module, by_kernel)


@every_placement
def test_masks_without_a_kernel_work_as_well(placement: str) -> None:
    """A free N×N mask, and RetNet's normalised by rows."""
    grid = Grid(5, prefix=1)
    q, k, v = qkv(grid, 3)
    free = ElementwiseMask(grid, HEADS, per_head=True).double()
    free.weight.data = mask_of((5,), 3).exp()
    for module in (free, RetNetMask(HEADS, normalize=True).double()):
        run = partial(attend, q, k, v, placement=placement)
        assert_exact(run(module, grid), run(module(grid), grid))


@every_placement
def test_one_head_of_a_mask_serves_all(placement: str) -> None:
    grid = Grid((2, 3), prefix=1)
    q, k, v = qkv(grid, 4)
    kernel = kernel_for(placement, grid.shape, 4)[:1]
    shared, repeated = (attend(q, k, v, m, grid, placement=placement) for m in (kernel, kernel.expand(HEADS, -1, -1)))
    assert_close(shared, repeated)


# --- neutral masks --------------------------------------------------------------------------------------------------


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention in timm's order of operations."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(dim=-1) @ v


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@every_softmax
@every_grid
def test_neutral_mask_is_plain_attention(shape: tuple[int, ...], seed: int, placement: str, dtype: torch.dtype) -> None:
    """All ones: bit for bit, as a module, a kernel and a tensor."""
    grid = Grid(shape, prefix=seed % 2)
    q, k, v = qkv(grid, seed, dtype)
    module = KernelTableMask(grid, HEADS).to(dtype)
    bias = bias_for(placement, grid, seed, dtype)
    expected = plain_attention(q, k, v, bias)
    for mask in (module, module.kernel(grid), torch.ones(1, grid.length, grid.length, dtype=dtype)):
        assert_exact(attend(q, k, v, mask, grid, bias=bias, backend="reference", placement=placement), expected)


@every_softmax
def test_neutral_mask_is_sdpa(placement: str) -> None:
    grid = Grid((3, 5), prefix=1)
    q, k, v = qkv(grid, 5)
    ones = torch.ones(HEADS, *grid.kernel_shape, dtype=F64)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert_close(attend(q, k, v, ones, grid, placement=placement), expected)


# --- laws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_law_18_log_form(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """``bias_logits`` = ``multiply_weights`` normalised by rows, for M > 0."""
    grid = Grid(shape, prefix=seed % 2)
    q, k, v = qkv(grid, seed, dtype)
    kernel = kernel_of(shape, seed, dtype).exp()
    _, weights = multiply_weights(q, k, v, kernel, grid, return_weights=True)
    out, biased = bias_logits(q, k, v, kernel, grid, return_weights=True)
    normalised = weights / weights.sum(dim=-1, keepdim=True)
    assert_close(biased, normalised)
    assert_close(out, normalised @ v)


def test_law_10_extroversion_has_no_logarithm() -> None:
    grid = Grid((3, 3))
    q, k, v = qkv(grid, 6)
    mask = GaussianMixtureMask.from_parameters(torch.tensor([[2.0, 0.2]]), torch.tensor([[0.6, -0.8]])).double()
    assert float(mask.kernel(grid)[0, 2, 2].detach()) == pytest.approx(-0.2, abs=1e-4)
    with pytest.raises(ValueError, match=r"no logarithm \(law 10\), use multiply_logits"):
        bias_logits(q, k, v, mask, grid)


@every_grid
def test_law_14_retention_is_a_convolution_of_outer_products(shape: tuple[int, ...], seed: int) -> None:
    """``out_i = q_i Σ_δ K[δ] k_{i+δ} v_{i+δ}ᵀ``: the outer products, convolved token by token, contracted with q."""
    grid = Grid(shape)
    q, k, v = qkv(grid, seed)
    kernel = kernel_of(shape, seed)
    outer = (k[..., :, None] * v[..., None, :]).flatten(-2)  # shape: (batch, heads, N, d · d_v)
    state = convolution(outer, outer, outer, kernel, grid).unflatten(-1, (k.shape[-1], v.shape[-1]))
    expected = torch.einsum("bhnc,bhncd->bhnd", q, state)
    assert_close(retention(q, k, v, kernel, grid, scale=1.0), expected)


def test_constant_mask_on_logits_is_a_temperature() -> None:
    """A mask that is t everywhere multiplies the scale: one of the confounds that a study must separate."""
    grid = Grid((3, 4))
    q, k, v = qkv(grid, 7)
    kernel = torch.full((1, *grid.kernel_shape), 0.25, dtype=F64)
    assert_close(
        multiply_logits(q, k, v, kernel, grid, scale=1.0), multiply_logits(q, k, v, kernel**0, grid, scale=0.25)
    )


# --- gradients, hidden keys, dropout, windows -----------------------------------------------------------------------


@every_placement
def test_gradients_are_those_of_the_formula(placement: str) -> None:
    grid = Grid((2, 3), prefix=1)
    leaves = dict(zip("qkv", qkv(grid, 8), strict=True)) | {"mask": kernel_for(placement, grid.shape, 8)}
    if placement in SOFTMAX:
        leaves["bias"] = normal(8, 1, HEADS, grid.length, grid.length)
    given = [leaf.requires_grad_() for leaf in leaves.values()]

    def out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
        return attend(q, k, v, mask, grid, bias=bias, backend="reference", placement=placement)

    assert torch.autograd.gradcheck(out, given)


@every_placement
def test_gradients_reach_every_parameter_of_a_mask(placement: str) -> None:
    grid = Grid((3, 4), prefix=1)
    q, k, v = qkv(grid, 9)
    mask = GaussianMixtureMask(HEADS, start="local", generator=torch.Generator().manual_seed(0)).double()
    attend(q, k, v, mask, grid, placement=placement).square().sum().backward()
    for parameter in mask.parameters():
        assert bool((parameter.grad != 0).all() & parameter.grad.isfinite().all())


def test_weight_of_zero_hides_a_key_and_keeps_gradients_finite() -> None:
    """RetNet's mask as a bias is causal attention: log 0 = −∞, without NaN in any gradient."""
    grid = Grid(6)
    q, k, v = (x.requires_grad_() for x in qkv(grid, 10))
    mask = RetNetMask(HEADS, gamma=0.7, learnable=True).double()
    out, weights = bias_logits(q, k, v, mask, grid, return_weights=True)
    assert bool((weights.triu(1) == 0).all())
    out.square().sum().backward()
    assert all(bool(x.grad.isfinite().all()) for x in (q, k, v, mask.log_rate))


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, -1e9), (torch.bfloat16, torch.finfo(F32).min)])
@pytest.mark.parametrize("placement", SOFTMAX)
def test_a_bias_that_rounds_to_minus_infinity_leaves_no_nan(placement: str, dtype: torch.dtype, least: float) -> None:
    """Of a query whose keys are all padding: of a number as of −∞, whatever it becomes in a half type."""
    q, k, v = (normal(i, 1, HEADS, 4, 3, dtype=dtype).requires_grad_() for i in range(3))
    bias = torch.zeros(1, 1, 4, 4)
    bias[..., 0, :] = least
    for backend in ("auto", "reference", "recompute"):
        out = attend(q, k, v, torch.ones(HEADS, 3, 3), (2, 2), placement=placement, bias=bias, backend=backend)
        assert bool(out.isfinite().all())
        assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(out.sum(), (q, k, v)))


def test_alibi_is_a_bias_beside_a_neutral_mask() -> None:
    """And the logarithm of a decay with γ = exp(−m)."""
    grid = Grid((3, 4))
    q, k, v = qkv(grid, 11)
    slope = torch.tensor([0.5, 0.1], dtype=F64)
    bias = kernel_to_mask(alibi(grid.offsets(), slope), grid, neutral=0.0)
    ones = torch.ones(1, *grid.kernel_shape, dtype=F64)
    decay = DecayMask(HEADS, gamma=(-slope).exp()).double()
    assert_close(multiply_logits(q, k, v, ones, grid, bias=bias), bias_logits(q, k, v, decay, grid), torch.float32)


@every_placement
def test_dropout_drops_weights_and_rescales_the_rest(placement: str) -> None:
    grid = Grid((4, 4))
    q, k, _ = qkv(grid, 12)
    values = torch.eye(16, dtype=F64).expand(cases.BATCH, HEADS, -1, -1)
    kernel = kernel_for(placement, grid.shape, 12)
    torch.manual_seed(0)
    out, weights = attend(q, k, values, kernel, grid, dropout_p=0.25, return_weights=True, placement=placement)
    kept = out != 0
    assert 0.70 < float(kept.double().mean()) < 0.80
    assert_close(out, torch.where(kept, weights / 0.75, 0.0))
    assert bool((kept[0] != kept[1]).any())


@every_softmax
def test_shifted_windows_do_not_see_each_other(placement: str) -> None:
    """Swin's shift mask: tokens that the roll brought together stay apart, in each of several windows."""
    grid = Grid((4, 4))
    q, k, v = qkv(grid, 13)
    kernel = kernel_for(placement, grid.shape, 13)
    region = (torch.arange(16) % 4 >= 2).long()  # two halves of the window, of which one came from the other side
    shift = torch.where(region[:, None] == region[None, :], 0.0, -torch.inf).double()
    bias = torch.stack([torch.zeros(16, 16, dtype=F64), shift])[:, None]  # shape: (windows, 1, N, N)
    out, weights = attend(q, k, v, kernel, grid, bias=bias, return_weights=True, placement=placement)
    assert bool((weights[1][:, region[:, None] != region[None, :]] == 0).all())
    assert_close(out[:1], attend(q[:1], k[:1], v[:1], kernel, grid, placement=placement))
    half = Grid((4, 2))
    inner = kernel[:, :, 2:5]
    for side in (0, 1):
        part = [x[1:, :, region == side] for x in (q, k, v)]
        assert_close(out[1:, :, region == side], attend(*part, inner, half, placement=placement))


def test_hard_window_as_a_bias_is_local_attention() -> None:
    grid = Grid((3, 5))
    q, k, v = qkv(grid, 14)
    _, weights = bias_logits(q, k, v, window(grid.offsets(), 1).double(), grid, return_weights=True)
    assert int((weights[0, 0, 7] > 0).sum()) == 9


@every_placement
def test_bfloat16_is_near_its_float64_reference(placement: str) -> None:
    """The plain formula rounds scores, masked scores and weights, by half a unit (2⁻⁹) each, and the output once.

    A logit of size z that is off by 2⁻⁹ z moves its weight by as much: the budget is 2⁻⁹ (1 + 2 max |z|) and the
    tolerance of the result, of the largest sum of absolute values that a row adds up.
    """
    grid = Grid((4, 5), prefix=1)
    inputs = [x.to(torch.bfloat16) for x in (*qkv(grid, 15), kernel_for(placement, grid.shape, 15))]
    half, _ = attend(*inputs, grid, return_weights=True, placement=placement)
    q, k, v, kernel = (x.double() for x in inputs)
    exact, weights = attend(q, k, v, kernel, grid, return_weights=True, placement=placement)
    mask = kernel_to_mask(kernel, grid)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    logits = {"multiply_logits": scores * mask, "bias_logits": scores.abs() + mask.log().abs()}.get(placement, scores)
    size = float((weights.abs() @ v.abs()).max())
    budget = (2.0**-9 * (1 + 2 * float(logits.abs().max())) + tolerance(torch.bfloat16)) * size
    assert half.dtype == torch.bfloat16
    assert float((half.double() - exact).abs().max()) <= budget
