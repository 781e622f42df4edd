"""Kernel → mask and back: the exact gather, its inverse, the projection, the bank and the windows."""

import pytest
import torch

from retconv.convert import (
    NotAConvolutionError,
    bank_to_mask,
    fold,
    kernel_to_mask,
    mask_to_bank,
    mask_to_kernel,
    project,
    unfold,
    windows,
)
from retconv.grid import Grid
from retconv.memory import DenseLimitError, dense_limit
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.convert.cases import check_bank, check_gather, check_windows
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, mask_of, normal

ALL_DTYPES = (*DTYPES, torch.bfloat16)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@every_grid
def test_mask_is_a_gather_of_the_kernel(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """M[q, k] = K[k − q], bit for bit."""
    check_gather(shape, seed, dtype)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@every_grid
def test_kernel_to_mask_to_kernel_is_the_identity(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Bit for bit, with prefix tokens too."""
    kernel = kernel_of(shape, seed, dtype)
    for grid in (Grid(shape), Grid(shape, prefix=2)):
        assert_exact(mask_to_kernel(kernel_to_mask(kernel, grid), grid), kernel)


@pytest.mark.parametrize("neutral", [0.0, 1.0])
def test_prefix_rows_and_columns_are_neutral(neutral: float) -> None:
    """1 for masks that multiply, 0 for masks that add; the grid's block is untouched."""
    kernel, grid = kernel_of((2, 3), 0), Grid((2, 3), prefix=2)
    mask = kernel_to_mask(kernel, grid, neutral)
    assert_exact(mask[:, 2:, 2:], kernel_to_mask(kernel, grid.without_prefix()))
    assert bool((mask[:, :2] == neutral).all())
    assert bool((mask[:, :, :2] == neutral).all())
    assert_exact(mask_to_kernel(mask, grid, neutral=neutral), kernel)


@every_grid
def test_mask_without_kernel_is_refused_with_its_residual(shape: tuple[int, ...], seed: int) -> None:
    """Never silently an approximation: the error carries ‖M − PM‖ / ‖M‖ per head."""
    if len(naive.positions(shape)) == 1:
        shape = (2, *shape[1:])
    mask = mask_of(shape, seed)
    with pytest.raises(NotAConvolutionError, match=r"relative residual .* is \d.*retconv\.project") as refusal:
        mask_to_kernel(mask, shape)
    assert refusal.value.residual is not None
    assert_close(refusal.value.residual, [naive.projection(m, shape)[1] for m in mask.tolist()])


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_one_wrong_bit_is_refused_at_tolerance_zero(dtype: torch.dtype) -> None:
    mask = kernel_to_mask(kernel_of((3, 4), 0, dtype), (3, 4))
    mask[1, 5, 7] *= 1 + torch.finfo(dtype).eps
    with pytest.raises(NotAConvolutionError, match=r"head 1\), tolerance 0"):
        mask_to_kernel(mask, (3, 4))


def test_tolerance_is_the_largest_residual_that_is_accepted() -> None:
    """Within the tolerance the kernel is the projection; above it there is none."""
    mask = kernel_to_mask(kernel_of((3, 4), 0), (3, 4)) + 1e-3 * mask_of((3, 4), 1)
    nearest = project(mask, (3, 4))
    worst = float(nearest.residual.max())
    assert_exact(mask_to_kernel(mask, (3, 4), tolerance=worst), nearest.kernel)
    with pytest.raises(NotAConvolutionError, match=r"tolerance 0\.0005"):
        mask_to_kernel(mask, (3, 4), tolerance=5e-4)


def test_a_kernel_of_infinities_is_read_exactly() -> None:
    """The logarithm of a causal mask, 0 and −∞, is a convolution kernel like any other."""
    kernel = torch.tensor([[0.0, 0.0, 0.0, -torch.inf, -torch.inf]])
    assert_exact(mask_to_kernel(kernel_to_mask(kernel, 3), 3), kernel)


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_projection_is_the_mean_over_equal_offsets(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """K[δ] is the mean of ∏(n_d − |δ_d|) entries; the residual is ‖M − PM‖_F / ‖M‖_F."""
    mask = mask_of(shape, seed, dtype)
    kernel, residual = project(mask, shape)
    expected = [naive.projection(m, shape) for m in mask.tolist()]
    assert_close(kernel.flatten(1), [mean for mean, _ in expected])
    assert_close(residual, [distance for _, distance in expected])


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@every_grid
def test_residual_of_a_convolution_is_exactly_zero(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Not merely small: means of equal numbers are those numbers."""
    kernel = kernel_of(shape, seed, dtype)
    nearest = project(kernel_to_mask(kernel, shape), shape)
    assert_exact(nearest.kernel, kernel)
    assert nearest.residual.tolist() == [0.0] * HEADS


def test_a_zero_mask_has_residual_zero() -> None:
    assert project(torch.zeros(1, 4, 4), 4).residual.tolist() == [0.0]


def test_projection_leaves_prefix_tokens_out() -> None:
    mask = mask_of((6,), 0)
    inner = project(mask[:, 2:, 2:], 4)
    outer = project(mask, Grid(4, prefix=2))
    assert_exact(outer.kernel, inner.kernel)
    assert_exact(outer.residual, inner.residual)


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_bank_is_one_kernel_per_query(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """K_q[δ] = M[q, q + δ] on the grid, else 0; and back, bit for bit."""
    check_bank(shape, seed, dtype)


def test_bank_leaves_prefix_tokens_out() -> None:
    mask = mask_of((6,), 0)
    assert_exact(mask_to_bank(mask, Grid(4, prefix=2)), mask_to_bank(mask[:, 2:, 2:], 4))


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@every_grid
def test_windows_start_at_n_minus_one_minus_q(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Query q reads the n-sized window of K that starts at n − 1 − q."""
    check_windows(shape, seed, dtype)


def test_windows_of_a_ramp() -> None:
    """By hand: K = 0 1 2 3 4 on three tokens; query 0 starts at index 2, query 2 at index 0."""
    assert windows(torch.arange(5.0)[None], 3).tolist() == [[[2, 3, 4], [1, 2, 3], [0, 1, 2]]]


@every_grid
def test_fold_is_the_adjoint_of_unfold(shape: tuple[int, ...], seed: int) -> None:
    """⟨unfold K, M⟩ = ⟨K, fold M⟩."""
    kernel = kernel_of(shape, seed)
    mask = normal(seed + 1, HEADS, *shape, *shape)
    left, right = (unfold(kernel, shape) * mask).sum(), (kernel * fold(mask, shape)).sum()
    scale = float(kernel.abs().max() * mask.abs().sum())
    assert abs(float(left - right)) <= 1e-12 * scale


@every_grid
def test_fold_sums_over_pairs_of_equal_offset(shape: tuple[int, ...], seed: int) -> None:
    """The fold of ones is the number of pairs."""
    assert_exact(fold(torch.ones(*shape, *shape), shape), Grid(shape).pair_count().float())


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 2)])
def test_gradients(shape: tuple[int, ...]) -> None:
    """Gradcheck of every conversion."""
    kernel, mask = kernel_of(shape, 0).requires_grad_(), mask_of(shape, 1).requires_grad_()
    bank = mask_to_bank(mask_of(shape, 2), shape).requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda k: kernel_to_mask(k, Grid(shape, prefix=1)), (kernel,))
    assert check(lambda k: windows(k, shape), (kernel,))
    assert check(lambda k: mask_to_kernel(kernel_to_mask(k, shape), shape), (kernel,))
    assert check(lambda m: tuple(project(m, shape)), (mask,))
    assert check(lambda m: mask_to_bank(m, shape), (mask,))
    assert check(lambda b: bank_to_mask(b, shape), (bank,))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 2)])
def test_second_gradients_of_unfold_and_fold(shape: tuple[int, ...]) -> None:
    """Each is the other's derivative, so both can be differentiated again (and again)."""
    kernel, mask = kernel_of(shape, 0).requires_grad_(), normal(1, HEADS, *shape, *shape).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda k: unfold(k, shape).square(), (kernel,))
    assert torch.autograd.gradgradcheck(lambda m: fold(m, shape).square(), (mask,))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 2)])
def test_vmap_of_unfold_and_fold(shape: tuple[int, ...]) -> None:
    """``torch.func.vmap`` over heads is the same as leading axes."""
    kernel, mask = kernel_of(shape, 0), normal(1, HEADS, *shape, *shape)
    assert_exact(torch.func.vmap(lambda k: unfold(k, shape))(kernel), unfold(kernel, shape))
    assert_exact(torch.func.vmap(lambda m: fold(m, shape))(mask), fold(mask, shape))


def test_jacobian_of_unfold_by_torch_func() -> None:
    """Each entry of a mask depends on one entry of its kernel: rows of the Jacobian are unit vectors."""
    jacobian = torch.func.jacrev(lambda k: unfold(k, (3,)))(torch.zeros(5, dtype=torch.float64))
    place = naive.mask(lambda q, k: naive.entry(naive.difference(q, k), (3,)), (3,))
    assert_exact(jacobian.argmax(dim=-1), place)
    assert_exact(jacobian.sum(dim=-1), torch.ones(3, 3))


@pytest.mark.parametrize("convert", [windows, kernel_to_mask])
def test_dense_results_are_refused_above_the_limit(convert) -> None:  # type: ignore[no-untyped-def]
    with dense_limit(HEADS * 16 * 8 - 1), pytest.raises(DenseLimitError, match=r"\(2, 4, 4\)"):
        convert(kernel_of((4,), 0), 4)


def test_bank_is_refused_above_the_limit() -> None:
    """A bank is about 2^D times its mask: here (2·4 − 1)² / 16, rounded up to 4 times."""
    mask = mask_of((4, 4), 0)
    with dense_limit(4 * mask.nbytes - 1), pytest.raises(DenseLimitError, match=r"\(8, 16, 16\)"):
        mask_to_bank(mask, (4, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(2, 3), (12, 12), (40, 30)])
def test_no_heads_are_no_mask_at_any_size(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """By a kept index, slab by slab and as a view, and of their sums."""
    grid = Grid(shape)
    kernel = torch.empty(0, *grid.kernel_shape, dtype=dtype, requires_grad=True)
    mask = kernel_to_mask(kernel, grid)
    assert mask.shape == (0, grid.size, grid.size)
    (gradient,) = torch.autograd.grad(mask.sum(), kernel)
    assert gradient.shape == kernel.shape
    assert fold(mask.detach().reshape(0, *shape, *shape), shape).shape == kernel.shape
