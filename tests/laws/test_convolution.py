"""Laws 1 to 5: a mask is a kernel, seen on the grid. One law per section, its formula in each docstring."""

import math

import pytest
import torch
from torch import Tensor

from retconv import operator
from retconv.convert import (
    NotAConvolutionError,
    kernel_to_mask,
    mask_to_bank,
    mask_to_kernel,
    project,
    windows,
)
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.laws.cases import check_bank, check_convolution_module, check_equivalence, check_windows
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, mask_of, on_grids, signal_of

# --- law 1: equivalence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_law_1_equivalence(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """M x = conv(x; K): the product with M[q, k] = K[k − q] is the sum over taps Σ_δ K[δ] x[p + δ]."""
    check_equivalence(shape, seed, dtype)


@pytest.mark.parametrize("method", ["dense", "direct", "fft"])
@every_grid
def test_law_1_methods_agree(shape: tuple[int, ...], seed: int, method: str) -> None:
    """Dense product, convNd and FFT are the same linear map."""
    kernel, x = kernel_of(shape, seed), signal_of(shape, seed)
    assert_close(operator(kernel, shape, method=method) @ x, kernel_to_mask(kernel, shape) @ x)


@every_grid
def test_law_1_convolution_module(shape: tuple[int, ...], seed: int) -> None:
    """``F.convNd(x, K, padding=n − 1)`` with no flip."""
    check_convolution_module(shape, seed)


@pytest.mark.parametrize("method", ["direct", "fft"])
@every_grid
def test_law_1_gradients_agree(shape: tuple[int, ...], seed: int, method: str) -> None:
    """∂/∂x ⟨y, M x⟩ = Mᵀ y and ∂/∂K are the same whichever way M x is computed."""
    x, y = signal_of(shape, seed), signal_of(shape, seed + 7)

    def gradients(way: str) -> tuple[Tensor, ...]:
        kernel, signal = kernel_of(shape, seed).requires_grad_(), x.clone().requires_grad_()
        return torch.autograd.grad(((operator(kernel, shape, method=way) @ signal) * y).sum(), (kernel, signal))

    for actual, expected in zip(gradients(method), gradients("dense"), strict=True):
        assert_close(actual, expected)


# --- law 2: windows -------------------------------------------------------------------------------------------------


@every_grid
def test_law_2_windows(shape: tuple[int, ...], seed: int) -> None:
    """Row q of M, folded to the grid, is the n-sized window of K that starts at n − 1 − q: M is K unfolded."""
    check_windows(shape, seed)


@every_grid
def test_law_2_elementwise_convolution(shape: tuple[int, ...], seed: int) -> None:
    """(M x)[q] = Σ window_q ⊙ x: the paper's "element-wise convolution"."""
    kernel, x = kernel_of(shape, seed), signal_of(shape, seed, channels=1)
    summed = (windows(kernel, shape) * x.reshape(HEADS, 1, *shape)).flatten(2).sum(dim=2)
    expected = [naive.correlate(kernel[h].flatten().tolist(), shape, x[h].tolist()) for h in range(HEADS)]
    assert_close(summed[..., None], expected)


# --- law 3: characterisation ----------------------------------------------------------------------------------------


@every_grid
def test_law_3_a_mask_with_kernel_is_shift_invariant(shape: tuple[int, ...], seed: int) -> None:
    """M has a kernel ⇒ M[q + s, k + s] = M[q, k]."""
    mask = kernel_to_mask(kernel_of(shape, seed), shape)
    assert all(naive.shift_invariant(head, shape) for head in mask.tolist())


@every_grid
def test_law_3_a_shift_invariant_mask_has_a_kernel(shape: tuple[int, ...], seed: int) -> None:
    """M[q + s, k + s] = M[q, k] ⇒ M has a kernel; the mask is built pair by pair, by no kernel."""
    head = naive.mask(lambda q, k: naive.ripple(seed % 97, *naive.difference(q, k)), shape)
    mask = torch.tensor([head], dtype=torch.float64)
    assert_exact(kernel_to_mask(mask_to_kernel(mask, shape), shape), mask)


@every_grid
def test_law_3_a_mask_that_varies_has_none(shape: tuple[int, ...], seed: int) -> None:
    """M[q + s, k + s] ≠ M[q, k] for one pair ⇒ M has no kernel, and its residual is not 0."""
    shape = (2, *shape[1:])
    mask = kernel_to_mask(kernel_of(shape, seed), shape)
    mask[:, 0, 0] += 1
    assert not any(naive.shift_invariant(head, shape) for head in mask.tolist())
    assert float(project(mask, shape).residual.min()) > 0
    with pytest.raises(NotAConvolutionError, match="relative residual"):
        mask_to_kernel(mask, shape)


def apply_projector(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    return kernel_to_mask(project(mask, shape).kernel, shape)


@every_grid
def test_law_3_projector_is_idempotent(shape: tuple[int, ...], seed: int) -> None:
    """P P = P, bit for bit."""
    once = apply_projector(mask_of(shape, seed), shape)
    assert_exact(apply_projector(once, shape), once)


@every_grid
def test_law_3_projector_is_orthogonal(shape: tuple[int, ...], seed: int) -> None:
    """⟨P A, B⟩ = ⟨A, P B⟩."""
    a, b = mask_of(shape, seed), mask_of(shape, seed + 1)
    left, right = (apply_projector(a, shape) * b).sum(), (a * apply_projector(b, shape)).sum()
    assert abs(float(left - right)) <= 1e-12 * float(a.norm() * b.norm())


@every_grid
def test_law_3_projector_gives_the_nearest_convolution(shape: tuple[int, ...], seed: int) -> None:
    """‖M − C‖² = ‖M − P M‖² + ‖P M − C‖² for every mask C that has a kernel (Pythagoras)."""
    mask, other = mask_of(shape, seed), kernel_to_mask(kernel_of(shape, seed + 1), shape)
    nearest = apply_projector(mask, shape)
    squares = [(a - b).square().sum() for a, b in ((mask, nearest), (nearest, other), (mask, other))]
    assert_close(squares[0] + squares[1], squares[2])


@every_grid
def test_law_3_residual(shape: tuple[int, ...], seed: int) -> None:
    """The residual is ‖M − P M‖_F / ‖M‖_F per head."""
    mask = mask_of(shape, seed)
    distance = (mask - apply_projector(mask, shape)).flatten(1).norm(dim=1) / mask.flatten(1).norm(dim=1)
    assert_close(project(mask, shape).residual, distance)


# --- law 4: every mask is a bank ------------------------------------------------------------------------------------


@every_grid
def test_law_4_every_mask_is_a_bank(shape: tuple[int, ...], seed: int) -> None:
    """(M x)[q] = Σ_δ K_q[δ] x[q + δ]: any mask is one kernel per query, and nothing is lost."""
    check_bank(shape, seed)


@every_grid
def test_law_4_bank_of_a_convolution(shape: tuple[int, ...], seed: int) -> None:
    """K_q[δ] = K[δ] wherever q + δ is on the grid: every query's kernel is the one kernel, cut at the border."""
    kernel = kernel_of(shape, seed)
    bank = mask_to_bank(kernel_to_mask(kernel, shape), shape)
    assert_exact(bank, torch.where(bank == 0, bank, kernel[:, None].expand_as(bank)))
    assert_exact((bank != 0).sum(dim=1), [naive_pairs(shape)] * HEADS)


def naive_pairs(shape: tuple[int, ...]) -> list[object]:
    """How many queries have a key at each offset, in the layout of a kernel."""
    counts = [math.prod(n - abs(d) for n, d in zip(shape, offset, strict=True)) for offset in naive.offsets(shape)]
    return torch.tensor(counts).reshape([2 * n - 1 for n in shape]).tolist()


# --- law 5: algebra -------------------------------------------------------------------------------------------------


@every_grid
def test_law_5_sums_and_hadamard_products(shape: tuple[int, ...], seed: int) -> None:
    """M_K + M_L = M_{K+L} and M_K ⊙ M_L = M_{K⊙L}, bit for bit."""
    first, second = kernel_of(shape, seed), kernel_of(shape, seed + 1)
    a, b = kernel_to_mask(first, shape), kernel_to_mask(second, shape)
    assert_exact(a + b, kernel_to_mask(first + second, shape))
    assert_exact(a * b, kernel_to_mask(first * second, shape))


@every_grid
def test_law_5_transpose_is_flip(shape: tuple[int, ...], seed: int) -> None:
    """M_Kᵀ = M_{K'} with K'[δ] = K[−δ]."""
    kernel = kernel_of(shape, seed)
    assert_exact(kernel_to_mask(kernel, shape).mT, kernel_to_mask(kernel.flip(tuple(range(1, kernel.ndim))), shape))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 7), (4, 4)])
def test_law_5_kronecker_is_outer_product(shape: tuple[int, int]) -> None:
    """M_K ⊗ M_L = M_{K ⊗ L}, the outer product of two lines' kernels on their grid."""
    lines = [kernel_of((n,), i, heads=1)[0] for i, n in enumerate(shape)]
    masks = [kernel_to_mask(line[None], n)[0] for line, n in zip(lines, shape, strict=True)]
    assert_exact(torch.kron(*masks)[None], kernel_to_mask(torch.outer(*lines)[None], shape))


def test_law_5_product_of_masks_is_no_convolution_at_the_border() -> None:
    """M_K M_L ≠ M_{K∗L}: with K = δ_{−1} + δ_{+1} on three tokens, paths of two steps that leave the grid are lost.

    M M counts 1, 2, 1 returns to each token, the kernel K ∗ K says 2 everywhere: equal inside, not at the border.
    """
    kernel = [0.0, 1.0, 0.0, 1.0, 0.0]
    mask = kernel_to_mask(torch.tensor([kernel]), 3)
    product = mask @ mask
    composed = naive.convolve_kernels(kernel, kernel, (3,))
    assert product[0].diagonal().tolist() == [1, 2, 1]
    assert composed[2] == 2
    assert float(project(product, 3).residual) > 0.1


@on_grids((1,))
def test_law_5_product_of_causal_masks_is_the_convolution(shape: tuple[int, ...], seed: int) -> None:
    """M_K M_L = M_{K∗L} on a line if both are causal: no path between tokens of the grid leaves it."""
    (n,) = shape
    first, second = (kernel_of(shape, s) for s in (seed, seed + 1))
    first[:, n:], second[:, n:] = 0, 0
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    composed = torch.tensor([naive.convolve_kernels(a, b, shape) for a, b in pairs], dtype=torch.float64)
    assert_close(kernel_to_mask(first, n) @ kernel_to_mask(second, n), kernel_to_mask(composed, n))
