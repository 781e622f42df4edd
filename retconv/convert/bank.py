"""Law 4: any mask as one kernel for each query, and back."""

from __future__ import annotations

import math

from torch import Tensor

from retconv.convert.mask import body_of
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import check_real, require_tensor


def mask_to_bank(mask: Tensor, grid: GridLike) -> Tensor:
    """Law 4: any mask as a space-varying convolution, one kernel per query.

    Args:
        mask: ``(heads, length, length)``; rows and columns of prefix tokens are left out.
        grid: The grid.

    Returns:
        ``(heads, N, 2 n_1 − 1, …, 2 n_D − 1)``: kernel q holds ``M[q, q + δ]`` where q + δ is on the grid, else 0.

    Raises:
        ValueError: If the mask's shape is not the grid's, or it is not real.
        DenseLimitError: If the bank, about 2^D times the mask, would exceed the memory limit.

    Example:
        >>> mask_to_bank(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 2).tolist()
        [[[0.0, 1.0, 2.0], [3.0, 4.0, 0.0]]]
    """
    grid = Grid.of(grid)
    body = body_of(mask, grid).reshape(mask.shape[0], grid.size, grid.size)
    entries = math.prod(grid.kernel_shape)
    grid.without_prefix().require_dense(mask.shape[0] * -(-entries // grid.size), mask.dtype)
    index = grid.offset_index(mask.device).expand(mask.shape[0], -1, -1)
    bank = mask.new_zeros(mask.shape[0], grid.size, entries).scatter(2, index, body)
    return bank.reshape(mask.shape[0], grid.size, *grid.kernel_shape)


def bank_to_mask(bank: Tensor, grid: GridLike) -> Tensor:
    """The mask of a bank of kernels, ``M[q, k] = K_q[k − q]``; inverse of ``mask_to_bank`` on a grid without prefix.

    Args:
        bank: ``(heads, N, 2 n_1 − 1, …, 2 n_D − 1)``.
        grid: The grid, without prefix tokens.

    Returns:
        ``(heads, N, N)``.

    Raises:
        ValueError: If the bank's shape is not the grid's, it is not real, or the grid has prefix tokens.

    Example:
        >>> mask = torch.rand(2, 6, 6)
        >>> torch.equal(bank_to_mask(retconv.mask_to_bank(mask, (2, 3)), (2, 3)), mask)
        True
    """
    grid = Grid.of(grid)
    require_tensor(bank, "bank")
    if grid.prefix or tuple(bank.shape[1:]) != (grid.size, *grid.kernel_shape):
        raise ValueError(
            f"bank must be (heads, {grid.size}, {', '.join(map(str, grid.kernel_shape))}) on a grid without prefix "
            f"tokens, got shape {tuple(bank.shape)} on {grid}"
        )
    check_real(bank, "bank")
    index = grid.offset_index(bank.device).expand(bank.shape[0], -1, -1)
    return bank.flatten(2).gather(2, index)
