"""Checks of conversions against loops, which must fail where the sign of the offset is flipped."""

import torch
from torch import Tensor

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


def of_each_head(tensor: Tensor) -> list[list[float]]:
    """The flat lists of every head of a kernel."""
    return tensor.flatten(1).tolist()


def check_gather(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """M[q, k] = K[k − q], bit for bit."""
    kernel = kernel_of(shape, seed, dtype)
    assert_exact(kernel_to_mask(kernel, shape), [naive.mask_of_kernel(k, shape) for k in of_each_head(kernel)])


def check_windows(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Query q reads the n-sized window of K that starts at n − 1 − q."""
    kernel = kernel_of(shape, seed, dtype)
    actual = windows(kernel, shape)
    assert actual.shape[2:] == shape
    assert_exact(actual.flatten(2), [naive.windows(k, shape) for k in of_each_head(kernel)])


def check_bank(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """K_q[δ] = M[q, q + δ] on the grid, else 0; and back, bit for bit."""
    mask = mask_of(shape, seed, dtype)
    bank = mask_to_bank(mask, shape)
    assert_exact(bank.flatten(2), [naive.bank(m, shape) for m in mask.tolist()])
    assert_exact(bank_to_mask(bank, shape), mask)


def as_image(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``(heads, N, channels)`` → ``(1, heads · channels, n_1, …, n_D)``."""
    return x.transpose(1, 2).reshape(1, -1, *shape)


def check_conv(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """``conv(x) = M x`` with padding n − 1 and no flip, d channels sharing each head's kernel."""
    kernel, x = kernel_of(shape, seed, dtype), signal_of(shape, seed, dtype)
    conv = kernel_to_conv(kernel, shape, channels_per_head=x.shape[-1])
    expected = [naive.correlate(kernel[h].flatten().tolist(), shape, x[h].tolist()) for h in range(HEADS)]
    assert_close(conv(as_image(x, shape)), as_image(torch.tensor(expected, dtype=torch.float64), shape))
