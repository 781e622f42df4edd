"""Relatives: position biases of the field, as kernels.

ALiBi, KERPLE and the tables are biases: they are added to logits, and their exponential multiplies weights (law 18).
"""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import (
    as_parameter,
    check,
    check_real,
    device_of,
    per_head,
    prepare,
    result_dtype,
    whole,
)


def alibi(offset: Tensor, slope: Tensor | float) -> Tensor:
    """ALiBi's bias, ``K[δ] = −m |δ|₁``: the logarithm of a decay with ``γ = exp(−m)``.

    Args:
        offset: ``(*S, D)``, key − query in tokens; beyond one axis the Manhattan distance is used.
        slope: Number or ``(heads,)``, m ≥ 0 in logits per token; published: ``2^(−8h/H)``, h = 1 … H.

    Returns:
        ``(heads, *S)`` logits. The paper's causal mask is not included: it is another term, −∞ for δ > 0.

    Raises:
        ValueError: If slope is not finite or negative.

    Source:
        Press et al. 2022, ALiBi (arXiv 2108.12409), section 3.

    Example:
        >>> line = torch.tensor([[-2], [-1], [0]])
        >>> alibi(line, 0.5).tolist()
        [[-1.0, -0.5, -0.0]]
    """
    dtype = result_dtype(slope)
    slope = as_parameter(slope, "slope", device=device_of(offset))
    check(slope, "slope", slope >= 0, "must be at least 0")
    offset, (slope,) = prepare(offset, slope)
    return (-per_head(slope, offset.ndim - 1) * offset.abs().sum(dim=-1)).to(dtype)


def kerple_log(offset: Tensor, scale: Tensor | float, rate: Tensor | float) -> Tensor:
    """KERPLE's logarithmic bias, ``K[δ] = −r_1 log(1 + r_2 |δ|₁)``.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        scale: Number or ``(heads,)``, r_1 > 0 in logits.
        rate: Number or ``(heads,)``, r_2 > 0 per token.

    Returns:
        ``(heads, *S)`` logits.

    Raises:
        ValueError: If a parameter is not finite or not positive.

    Source:
        Chi et al. 2022, KERPLE (arXiv 2205.09921), section 4, logarithmic variant.

    Example:
        >>> kerple_log(torch.tensor([[0], [-1], [-3]]), 1.0, 1.0)
        tensor([[-0.0000, -0.6931, -1.3863]])
    """
    distance, scale, rate, dtype = _kerple(offset, scale, rate)
    return logarithmic(distance, scale, rate).to(dtype)


def logarithmic(distance: Tensor, scale: Tensor, rate: Tensor) -> Tensor:
    """``−r_1 log(1 + r_2 d)``, ``(heads, *S)``, of distances ``(*S)``.

    Like ``power_law`` it is for parameters that are a module's own: in the computing dtype, not looked at.
    """
    return -per_head(scale, distance.ndim) * torch.log1p(per_head(rate, distance.ndim) * distance)


def kerple_power(offset: Tensor, scale: Tensor | float, exponent: Tensor | float) -> Tensor:
    """KERPLE's power bias, ``K[δ] = −r_1 |δ|₁^r_2`` with 0 < r_2 ≤ 2; r_2 = 1 is ALiBi.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        scale: Number or ``(heads,)``, r_1 > 0.
        exponent: Number or ``(heads,)``, r_2 in (0, 2], which keeps the kernel conditionally positive definite.

    Returns:
        ``(heads, *S)`` logits.

    Raises:
        ValueError: If a parameter is not finite or outside its range.

    Source:
        Chi et al. 2022, KERPLE (arXiv 2205.09921), section 4, power variant.

    Example:
        >>> kerple_power(torch.tensor([[0], [-1], [-4]]), 1.0, 0.5).tolist()
        [[0.0, -1.0, -2.0]]
    """
    power = as_parameter(exponent, "exponent")
    check(power, "exponent", power <= 2, "must lie in (0, 2]")
    distance, scale, power, dtype = _kerple(offset, scale, exponent, second="exponent")
    return power_law(distance, scale, power).to(dtype)


def power_law(distance: Tensor, scale: Tensor, exponent: Tensor) -> Tensor:
    """``−r_1 d^r_2``, ``(heads, *S)``, of distances ``(*S)``."""
    # 0^r is 0 but its derivative is not finite: the entry at offset 0 is taken out of the power.
    nonzero = torch.where(distance == 0, torch.ones_like(distance), distance)
    bias = -per_head(scale, distance.ndim) * nonzero ** per_head(exponent, distance.ndim)
    return torch.where(distance == 0, torch.zeros_like(distance), bias)


def _kerple(
    offset: Tensor, scale: Tensor | float, second_value: Tensor | float, second: str = "rate"
) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
    dtype = result_dtype(scale, second_value)
    first = as_parameter(scale, "scale", device=device_of(offset))
    other = as_parameter(second_value, second, device=device_of(offset))
    check(first, "scale", first > 0, "must be positive")
    check(other, second, other > 0, "must be positive")
    offset, (first, other) = prepare(offset, first, other)
    return offset.abs().sum(dim=-1), first, other, dtype


def relative_table(offset: Tensor, table: Tensor) -> Tensor:
    """A free table read at the offset: ``K[δ] = table[δ + c]``, 0 outside the table.

    Args:
        offset: ``(*S, D)``, key − query in tokens, integers.
        table: ``(heads, 2 m_1 − 1, …, 2 m_D − 1)`` with offset 0 in its centre c = m − 1.

    Returns:
        ``(heads, *S)`` in the table's dtype: exact copies of its entries.

    Raises:
        ValueError: If the table is not real, has another number of axes than the offsets, or an even side, or an offset
            lies between tokens.

    Source:
        Shaw et al. 2018 (arXiv 1803.02155), section 3.2, and Raffel et al. 2020 without buckets. Shaw and T5 clip far
        offsets to the last entry; here they read 0, as a convolution kernel does beyond its support.

    Example:
        >>> relative_table(torch.tensor([[-1], [0], [5]]), torch.tensor([[0.25, 1.0, 0.5]])).tolist()
        [[0.25, 1.0, 0.0]]
    """
    ndim = offset.shape[-1]
    if table.ndim != ndim + 1 or any(side % 2 == 0 for side in table.shape[1:]):
        raise ValueError(f"table must be (heads, odd, …) with {ndim} odd sides, got shape {tuple(table.shape)}")
    check_real(table, "table")
    sides = torch.tensor(table.shape[1:], device=device_of(offset))
    index = whole(offset) + (sides - 1) // 2
    inside = ((index >= 0) & (index < sides)).all(dim=-1)
    index = index.clamp(min=torch.zeros_like(sides), max=sides - 1)
    heads = torch.arange(table.shape[0], device=table.device).reshape(-1, *(1,) * (offset.ndim - 1))
    values = table[(heads, *index.unbind(dim=-1))]
    return torch.where(inside, values, torch.zeros((), dtype=table.dtype, device=table.device))


def swin_table(table: Tensor, window: GridLike) -> Tensor:
    """Swin's ``relative_position_bias_table`` as a kernel on one window.

    Swin indexes its table by query − key and keeps heads last, so the kernel is the table transposed and flipped.

    Args:
        table: ``((2 w_1 − 1)(2 w_2 − 1), heads)``, as in a checkpoint.
        window: The window as a grid.

    Returns:
        ``(heads, 2 w_1 − 1, 2 w_2 − 1)`` bias on logits: ``K[δ] = table[−δ]``.

    Raises:
        ValueError: If the table is not real, or its length does not belong to the window, or the window is periodic.

    Source:
        Liu et al. 2021, Swin (arXiv 2103.14030), eq. (4), and its code's ``relative_position_index``.

    Example:
        >>> table = torch.arange(9.0)[:, None]  # Swin's for a 2×2 window and one head
        >>> swin_table(table, (2, 2)).tolist()
        [[[8.0, 7.0, 6.0], [5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]]
    """
    grid = Grid.of(window)
    grid.require_open("swin_table", "a Swin window has a border")
    expected = int(grid.pair_count().numel())
    if table.ndim != 2 or table.shape[0] != expected:
        raise ValueError(f"table must be ({expected}, heads) for window {grid.shape}, got shape {tuple(table.shape)}")
    check_real(table, "table")
    kernel = table.T.reshape(table.shape[1], *grid.kernel_shape)
    return kernel.flip(tuple(range(1, kernel.ndim)))
