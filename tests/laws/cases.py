"""Laws 1, 2 and 4 as checks, which must fail where the sign of the offset is flipped."""

import torch

from retconv.convert import (
    bank_to_mask,
    kernel_to_conv,
    kernel_to_mask,
    mask_to_bank,
    windows,
)
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.strategies import HEADS, kernel_of, mask_of, signal_of


def check_equivalence(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """M x = conv(x; K): the product with M[q, k] = K[k − q] is the sum over taps Σ_δ K[δ] x[p + δ]."""
    kernel, x = kernel_of(shape, seed, dtype), signal_of(shape, seed, dtype)
    taps = [naive.correlate(kernel[h].flatten().tolist(), shape, x[h].tolist()) for h in range(HEADS)]
    assert_close(kernel_to_mask(kernel, shape) @ x, taps)


def check_convolution_module(shape: tuple[int, ...], seed: int) -> None:
    """``F.convNd(x, K, padding=n − 1)`` with no flip."""
    kernel, x = kernel_of(shape, seed), signal_of(shape, seed, channels=1)
    image = kernel_to_conv(kernel, shape)(x.reshape(1, HEADS, *shape))
    assert_close(image.reshape(x.shape), kernel_to_mask(kernel, shape) @ x)


def check_windows(shape: tuple[int, ...], seed: int) -> None:
    """Row q of M, folded to the grid, is the n-sized window of K that starts at n − 1 − q: M is K unfolded."""
    kernel = kernel_of(shape, seed)
    rows = [naive.windows(k, shape) for k in kernel.flatten(1).tolist()]
    assert_exact(kernel_to_mask(kernel, shape), rows)
    assert_exact(windows(kernel, shape).flatten(2), rows)


def check_bank(shape: tuple[int, ...], seed: int) -> None:
    """(M x)[q] = Σ_δ K_q[δ] x[q + δ]: any mask is one kernel per query, and nothing is lost."""
    mask, x = mask_of(shape, seed), signal_of(shape, seed)
    bank = mask_to_bank(mask, shape)
    varying = [naive.correlate_bank(bank[h].flatten(1).tolist(), shape, x[h].tolist()) for h in range(HEADS)]
    assert_close(mask @ x, varying)
    assert_exact(bank_to_mask(bank, shape), mask)
