"""Position biases of vision transformers: tables of checkpoints, continuous biases, and fields of view."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import (
    as_parameter,
    check,
    check_real,
    compute_dtype,
    device_of,
    per_head,
    prepare,
    result_dtype,
)
from retconv.kernels.relative import swin_table


def beit_table(table: Tensor, grid: GridLike) -> tuple[Tensor, Tensor]:
    """BEiT's ``relative_position_bias_table`` as a kernel, and what it holds of the class token.

    Its first ``(2 n_1 − 1)(2 n_2 − 1)`` rows are Swin's, indexed by query − key; the last three belong to no offset:
    class token to patches, patches to class token, class token to itself. 732 rows at 14×14.

    Args:
        table: ``((2 n_1 − 1)(2 n_2 − 1) + 3, heads)``, as in a checkpoint.
        grid: The grid of patches; a prefix is ignored.

    Returns:
        The kernel ``(heads, 2 n_1 − 1, 2 n_2 − 1)``, a bias on logits, and the class token's numbers ``(heads, 3)`` in
        the order above. Attention with the table adds the kernel among patches, the first number in the class token's
        row, the second in its column and the third where they cross.

    Raises:
        ValueError: If the table is not real, or its length does not belong to the grid.

    Source:
        Bao et al. 2022, BEiT (arXiv 2106.08254), and ``gen_relative_position_index`` of its code.

    Example:
        >>> kernel, token = beit_table(torch.arange(12.0)[:, None], (2, 2))
        >>> kernel.shape, token.tolist()
        (torch.Size([1, 3, 3]), [[9.0, 10.0, 11.0]])
    """
    grid = Grid.of(grid).without_prefix()
    grid.require_open("beit_table", "BEiT's grid has a border")
    rows = math.prod(grid.kernel_shape)
    if table.ndim != 2 or table.shape[0] != rows + 3:
        raise ValueError(
            f"table must be ({rows + 3}, heads) for {grid}, {rows} offsets and 3 rows of the class token, got shape "
            f"{tuple(table.shape)}: a table without class token is for swin_table"
        )
    return swin_table(table[:rows], grid), table[rows:].T


def swin_v2(
    offset: Tensor, hidden: Tensor, shift: Tensor, out: Tensor, window: GridLike, trained: GridLike | None = None
) -> Tensor:
    """Swin v2's continuous bias, ``K[δ] = 16 σ(W_2 relu(W_1 c(δ) + b))``, c being the offset on a logarithmic scale.

    ``c_d = sign(x) log_2(1 + |x|) / log_2 8`` of ``x = −8 δ_d / (w_d − 1)``: Swin takes query − key.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        hidden: ``(units, D)``, W_1, 512 units in Swin v2: ``cpb_mlp.0.weight``.
        shift: ``(units,)``, b: ``cpb_mlp.0.bias``.
        out: ``(heads, units)``, W_2: ``cpb_mlp.2.weight``.
        window: w, the window as a grid.
        trained: The window of pre-training, by which the coordinates are scaled instead, if another.

    Returns:
        ``(heads, *S)`` logits in (0, 16). On an axis of one token c is 0, where the code divides 0 by 0.

    Raises:
        ValueError: If the weights are not real or do not belong together.

    Source:
        Liu et al. 2022, Swin v2 (arXiv 2111.09883), section 3.3, and ``cpb_mlp`` in its code, from which the factors 8
        and 16 are.

    Example:
        >>> zero = torch.zeros(1, 2)
        >>> swin_v2(torch.zeros(1, 2), zero, torch.zeros(1), torch.zeros(3, 1), (8, 8)).tolist()
        [[8.0], [8.0], [8.0]]
    """
    of = Grid.of(window if trained is None else trained)
    of.require_open("swin_v2", "a Swin window has a border")
    sides = of.shape
    shapes = [tuple(weight.shape) for weight in (hidden, shift, out)]
    units = out.shape[-1] if out.ndim == 2 else -1
    if shapes[:2] != [(units, offset.shape[-1]), (units,)] or len(sides) != offset.shape[-1]:
        raise ValueError(
            f"hidden, shift and out must be (units, {offset.shape[-1]}), (units,) and (heads, units), with a window of "
            f"as many axes, got {shapes} and window {sides}"
        )
    dtype = torch.promote_types(torch.promote_types(hidden.dtype, shift.dtype), out.dtype)
    wide = compute_dtype(offset.device)
    for name, weight in (("hidden", hidden), ("shift", shift), ("out", out)):
        check_real(weight, name)
    hidden, shift, out = (weight.to(offset.device, wide) for weight in (hidden, shift, out))
    scale = torch.tensor([8 / max(side - 1, 1) for side in sides], dtype=wide, device=device_of(offset))
    scaled = -offset.to(wide) * scale
    place = scaled.sign() * torch.log1p(scaled.abs()) / math.log(8)
    units_at = torch.relu((place[..., None, :] * hidden).sum(dim=-1) + shift)
    score = (units_at[..., None, :] * out).sum(dim=-1).movedim(-1, 0)
    return (16 * torch.sigmoid(score)).to(dtype)


def euclidean_alibi(offset: Tensor, slope: Tensor | float) -> Tensor:
    """ALiBi on a plane, ``K[δ] = −m ‖δ‖₂``: the logarithm of a Euclidean decay; no sum over axes, so no outer product.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        slope: Number or ``(heads,)``, m ≥ 0 in logits per token; published: those of ALiBi.

    Returns:
        ``(heads, *S)`` logits. The same with the Manhattan distance is ``alibi``.

    Raises:
        ValueError: If slope is not finite or negative.

    Source:
        Fuller et al. 2023, CROMA (arXiv 2311.00566), section 3, "2D-ALiBi".

    Example:
        >>> euclidean_alibi(torch.tensor([[3.0, 4.0]]), 0.5).tolist()
        [[-2.5]]
    """
    dtype = result_dtype(slope)
    slope = as_parameter(slope, "slope", device=device_of(offset))
    check(slope, "slope", slope >= 0, "must be at least 0")
    offset, (slope,) = prepare(offset, slope)
    return (-per_head(slope, offset.ndim - 1) * offset.square().sum(dim=-1).sqrt()).to(dtype)


def gaussian_bias(offset: Tensor, amplitude: Tensor | float, sigma: Tensor | float) -> Tensor:
    """Gaussian attention bias, ``K[δ] = A² exp(−‖δ‖² / 2σ²)`` added to logits: far away it is 0, not −∞.

    What multiplies, ``exp(K)``, tends to 1; a Gaussian that multiplies has the bias ``−‖δ‖² / 2σ²``, that of GPSA.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        amplitude: Number or ``(heads,)``, A, any sign, in √logits.
        sigma: Number or ``(heads,)``, σ in tokens, not 0; the sign is irrelevant.

    Returns:
        ``(heads, *S)`` logits in [0, A²].

    Raises:
        ValueError: If a parameter is not finite, or sigma is 0.

    Source:
        Kim et al. 2023 (arXiv 2305.04722), eqs. (2) and (3); one A and one σ for each layer there.

    Example:
        >>> gaussian_bias(torch.zeros(1, 2), 2.0, 1.0).tolist()
        [[4.0]]
    """
    dtype = result_dtype(amplitude, sigma)
    amplitude = as_parameter(amplitude, "amplitude", device=device_of(offset))
    sigma = as_parameter(sigma, "sigma", device=device_of(offset))
    check(sigma, "sigma", sigma != 0, "must not be 0")
    offset, (amplitude, sigma) = prepare(offset, amplitude, sigma)
    sites = offset.ndim - 1
    bump = torch.exp(per_head(-0.5 / sigma.square(), sites) * offset.square().sum(dim=-1))
    return (per_head(amplitude.square(), sites) * bump).to(dtype)


def field_of_view(offset: Tensor, slope: Tensor | float, planes: Tensor) -> Tensor:
    """LookHere's bias: ``K[δ] = −m ‖δ‖₂`` where ``n · δ ≥ 0`` for each of the head's half-planes n, else −∞.

    Args:
        offset: ``(*S, D)``, key − query in tokens.
        slope: Number or ``(heads,)``, m ≥ 0 in logits per token.
        planes: ``(heads, planes, D)``, normals n; 0 is no restriction. Up is ``(−1, 0)``, right ``(0, 1)``; up and left
            make a field of 90°, up and ``(−1, −1)`` one of 45°.

    Returns:
        ``(heads, *S)`` logits. The code has the largest bfloat16 for the −∞.

    Raises:
        ValueError: If slope is not finite or negative, or planes is not real and of that shape, or of other heads.

    Source:
        Fuller et al. 2024, LookHere (arXiv 2405.13985), section 3, and ``lookhere.py`` of its code.

    Example:
        >>> field_of_view(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.5, torch.tensor([[[-1.0, 0.0]]])).tolist()
        [[-1.0, -inf]]
    """
    if planes.ndim != 3 or planes.shape[-1] != offset.shape[-1]:
        raise ValueError(f"planes must be (heads, planes, {offset.shape[-1]}), got shape {tuple(planes.shape)}")
    dtype = result_dtype(slope, planes)
    planes = as_parameter(planes, "planes", axes=3, device=device_of(offset))
    slope = as_parameter(slope, "slope", device=device_of(offset))
    bias = euclidean_alibi(offset, slope).to(dtype)
    _, (normals, _) = prepare(offset, planes, slope)
    side = torch.tensordot(normals, offset.to(normals.dtype), dims=([2], [offset.ndim - 1]))
    return torch.where((side >= 0).all(dim=1), bias, torch.full((), -torch.inf, dtype=bias.dtype, device=bias.device))
