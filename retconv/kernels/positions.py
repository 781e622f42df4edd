"""Masks that depend on where a query stands, not on the offset alone: they have entries and no kernel (law 3).

Each is a function of the grid that gives entries ``(heads, N, N)`` of its tokens, rows are queries; a prefix is
ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import as_parameter, check, check_real, compute_dtype


def _open(grid: GridLike, name: str) -> Grid:
    """The grid's tokens, which have a border."""
    grid = Grid.of(grid).without_prefix()
    grid.require_open(name, "it counts from the border, use grid.opened()")
    return grid


def _line(grid: GridLike, name: str) -> Grid:
    grid = _open(grid, name)
    if grid.ndim != 1:
        raise ValueError(f"{name} is defined on 1-D grids, got {grid}: use the line Grid({grid.size}) of its tokens")
    return grid


def _weights(seen: Tensor) -> Tensor:
    return seen.to(torch.get_default_dtype())


def neighbourhood(grid: GridLike, side: int, dilation: int = 1, device: torch.device | str | None = None) -> Tensor:
    """Neighbourhood attention: the ``side`` nearest keys along each axis, also where the query is near the border.

    Along an axis of n tokens, query i is at place ``j = ⌊i / dilation⌋`` among the tokens of its residue ``i mod
    dilation``, of which there are m; it sees those at places ``s … s + side − 1``, ``s = clamp(j − ⌊side/2⌋, 0, m −
    side)``. The shift of the window at the border is what a kernel cannot say: on 8×8 with side 3 the residual (law 3)
    is 0.37. The inner rows are those of ``window``.

    Args:
        grid: The grid.
        side: Keys along each axis, odd.
        dilation: Tokens from one key to the next, as in DiNAT; ``side · dilation ≤ n`` on each axis.
        device: Of the result.

    Returns:
        ``(1, N, N)`` of ones and zeros in the default dtype; every row sums to ``side^D``.

    Raises:
        ValueError: If side is even or not positive, dilation is not positive, or the grid is too small.

    Source:
        Hassani et al. 2023, NAT (arXiv 2204.07143); Hassani and Shi 2022, DiNAT (arXiv 2209.15001), and
        ``get_window_start`` of NATTEN's code.

    Example:
        >>> neighbourhood(4, 3)[0].tolist()
        [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    """
    grid = _open(grid, "neighbourhood")
    if side < 1 or side % 2 == 0 or dilation < 1 or side * dilation > min(grid.shape):
        raise ValueError(
            f"neighbourhood needs an odd side, a dilation of at least 1 and side · dilation ≤ every axis, got "
            f"side={side}, dilation={dilation} on {grid}"
        )
    grid.require_dense(1, torch.get_default_dtype())
    position = grid.coordinates(device)
    sizes = torch.tensor(grid.shape, device=device)
    residue, place = position % dilation, position // dilation
    last = (sizes - residue + dilation - 1) // dilation - side
    start = torch.minimum((place - side // 2).clamp(min=0), last)
    ahead = place[None] - start[:, None]
    seen = (residue[None] == residue[:, None]) & (ahead >= 0) & (ahead < side)
    return _weights(seen.all(dim=-1))[None]


def same_window(
    grid: GridLike, sides: Sequence[int], shift: Sequence[int] | int = 0, device: torch.device | str | None = None
) -> Tensor:
    """Swin's windows: 1 where query and key lie in one window of a tiling, which may be shifted, else 0.

    Token i of an axis lies in window ``⌊(i + w − shift) / w⌋``: windows at the border that a shift has cut stay apart,
    as Swin's mask of its cyclic shift keeps them.

    Args:
        grid: The grid.
        sides: w, the window's sides in tokens, one for each axis.
        shift: How far the tiling is moved, from 0 to w − 1; Swin's every second block has ``⌊w/2⌋``.
        device: Of the result.

    Returns:
        ``(1, N, N)`` of ones and zeros in the default dtype.

    Raises:
        ValueError: If a side is not positive, a shift is outside 0 … w − 1, or there is not one of each for every axis.

    Source:
        Liu et al. 2021, Swin (arXiv 2103.14030), section 3.2, and ``attn_mask`` of its code.

    Example:
        >>> same_window(3, (2,))[0].tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    grid = _open(grid, "same_window")
    moved = (shift,) * grid.ndim if isinstance(shift, int) else tuple(shift)
    if (
        len(sides) != grid.ndim
        or len(moved) != grid.ndim
        or not all(0 <= m < w for w, m in zip(sides, moved, strict=True))
    ):
        raise ValueError(
            f"same_window needs a positive side and a shift below it for each of {grid.ndim} axes, got sides "
            f"{tuple(sides)} and shift {moved}"
        )
    grid.require_dense(1, torch.get_default_dtype())
    width, start = torch.tensor(tuple(sides), device=device), torch.tensor(moved, device=device)
    tile = (grid.coordinates(device) + width - start) // width
    return _weights((tile[None] == tile[:, None]).all(dim=-1))[None]


def block_causal(grid: GridLike, block: int, device: torch.device | str | None = None) -> Tensor:
    """Block-causal attention: 1 where the key's block is not after the query's, ``⌊k/b⌋ ≤ ⌊q/b⌋``, else 0.

    Args:
        grid: A line.
        block: b, tokens of a block, at least 1; with 1 it is the causal mask, which has a kernel.
        device: Of the result.

    Returns:
        ``(1, N, N)`` of ones and zeros in the default dtype.

    Raises:
        ValueError: If block is not positive, or the grid is not 1-D.

    Source:
        Tian et al. 2024, VAR (arXiv 2404.02905), section 3.2, with blocks of one size.

    Example:
        >>> block_causal(3, 2)[0].tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    grid = _line(grid, "block_causal")
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    grid.require_dense(1, torch.get_default_dtype())
    index = torch.arange(grid.size, device=device) // block
    return _weights(index[None] <= index[:, None])[None]


def dilated_segments(
    grid: GridLike, heads: int, segment: int, dilation: int, device: torch.device | str | None = None
) -> Tensor:
    """LongNet's dilated attention: in each segment, every r-th token sees every r-th, from another start in each head.

    1 where ``⌊q/w⌋ = ⌊k/w⌋`` and both ``q mod w`` and ``k mod w`` are ``h mod r`` modulo r, else 0: rows of the other
    tokens are hidden in this head.

    Args:
        grid: A line.
        heads: H.
        segment: w, tokens of a segment, at least 1.
        dilation: r, at least 1.
        device: Of the result.

    Returns:
        ``(heads, N, N)`` of ones and zeros in the default dtype. LongNet mixes several pairs of w and r.

    Raises:
        ValueError: If a number is not positive, or the grid is not 1-D.

    Source:
        Ding et al. 2023, LongNet (arXiv 2307.02486), section 2.2.

    Example:
        >>> dilated_segments(4, 2, 4, 2)[1].tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    """
    grid = _line(grid, "dilated_segments")
    if min(heads, segment, dilation) < 1:
        raise ValueError(
            f"heads, segment and dilation must be at least 1, got heads={heads}, segment={segment}, dilation={dilation}"
        )
    grid.require_dense(heads, torch.get_default_dtype())
    token = torch.arange(grid.size, device=device)
    start = torch.arange(heads, device=device)[:, None] % dilation
    chosen = token % segment % dilation == start
    same = token[:, None] // segment == token // segment
    return _weights(same & chosen[:, :, None] & chosen[:, None, :])


def fire(
    grid: GridLike,
    scale: Tensor | float,
    threshold: Tensor | float,
    hidden: Tensor,
    shift: Tensor,
    out: Tensor,
    bias: Tensor,
) -> Tensor:
    """FIRE's bias, ``f(ψ(q − k) / ψ(max(q, L)))`` with ``ψ(x) = log(1 + c x)`` and an MLP f.

    Each row has a scale of its own, beyond L.

    Args:
        grid: A line. Queries are counted from 0, as in the paper's code.
        scale: c > 0 per token, 0.1 at the start.
        threshold: L > 0 in tokens, 512 at the start: while q ≤ L it does not matter where the query stands, so that on
            a line of at most L + 1 tokens there is a kernel.
        hidden: ``(units,)``, weights of f's first layer, 32 units.
        shift: ``(units,)``, their biases.
        out: ``(heads, units)``, weights of its second layer; between them is a relu.
        bias: ``(heads,)``, their biases.

    Returns:
        ``(heads, N, N)`` logits. For keys after the query the distance is ``|q − k|``, as in the code; the paper's
        causal mask is not included. The code adds 1e-6 to the denominator, against 0/0 where c L = 0;
        we ask for a positive L.

    Raises:
        ValueError: If scale or threshold is not positive, the weights are not real or do not belong together, or the
            grid is not 1-D.

    Source:
        Li et al. 2024, FIRE (arXiv 2310.04418), and the code of its appendix.

    Example:
        >>> one = torch.ones(1)
        >>> fire(2, 1.0, 1.0, one, 0 * one, torch.ones(1, 1), 0 * one)[0].tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    grid = _line(grid, "fire")
    shapes = [tuple(weight.shape) for weight in (hidden, shift, out, bias)]
    units, heads = hidden.shape[-1:], bias.shape[:1]
    if shapes != [tuple(units), tuple(units), (*heads, *units), tuple(heads)]:
        raise ValueError(
            f"hidden, shift, out and bias must be (units,), (units,), (heads, units) and (heads,), got {shapes}"
        )
    given: list[Tensor] = []
    for name, value in (("scale", scale), ("threshold", threshold)):
        number = as_parameter(value, name, device=hidden.device).to(compute_dtype(hidden.device))
        check(number, name, number > 0, "must be positive")
        given.append(number)
    dtype = hidden.dtype
    for name, weight in (("hidden", hidden), ("shift", shift), ("out", out), ("bias", bias)):
        check_real(weight, name)
        dtype = torch.promote_types(dtype, weight.dtype)
    grid.require_dense(bias.shape[0], dtype)
    rate, least = given
    hidden, shift, out, bias = (weight.to(rate.dtype) for weight in (hidden, shift, out, bias))
    place = torch.arange(grid.size, dtype=rate.dtype, device=hidden.device)
    far = torch.log1p(rate * (place[:, None] - place).abs())
    ratio = far / torch.log1p(rate * torch.maximum(place, least))[:, None]
    units_at = torch.relu(ratio[..., None] * hidden + shift)
    return ((units_at[..., None, :] * out).sum(dim=-1) + bias).movedim(-1, 0).to(dtype)
