"""A Gaussian bias as extra channels of query and key (law 20): plain fused attention runs it, with no N×N tensor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.attention.fused import fused
from retconv.attention.inputs import Call
from retconv.checks import tolerance
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON
from retconv.kernels.parameters import check, compute_dtype
from retconv.watching import is_readable

#: Widths of query and key are made multiples of this, which fused kernels on a GPU ask for.
MULTIPLE = 8


def precise(sigma: Tensor, grid: Grid, dtype: torch.dtype) -> bool:
    """Whether the dot product of Gaussians of these widths keeps the dtype's tolerance.

    It is a difference of terms up to ``R² / σ²`` with R half the diagonal of the grid, and each is rounded.
    """
    radius = sum(((n - 1) / 2) ** 2 for n in grid.shape)
    variance = float((sigma.detach().double().square() + GAUSSIAN_EPSILON).min())
    return radius / variance * torch.finfo(dtype).eps <= tolerance(dtype) / 2


def extended(q: Tensor, k: Tensor, gaussian: tuple[Tensor, Tensor], grid: Grid, scale: float) -> tuple[Tensor, Tensor]:
    """Queries and keys with extra channels whose dot product, times ``scale``, adds ``log M`` up to a constant per row.

    For tokens p_q and p_k of the grid and variance s² = σ² + ε, ``−‖p_k − p_q‖² / 2s²`` is
    ``p_q · p_k / s² − ‖p_k‖² / 2s²`` and a term of the query alone, which the softmax of its row removes. With prefix
    tokens, neutral in the mask, that term no longer stands in all of the row: one more channel carries it.

    Args:
        q: ``(batch, heads, length, d)``.
        k: As q.
        gaussian: σ and α of one Gaussian for each head, ``(heads,)`` each, α > 0.
        grid: The grid, D axes.
        scale: What the fused attention multiplies scores by.

    Returns:
        Both ``(batch, heads, length, d + D + 1)``, or ``d + D + 2`` with prefix tokens, filled up with zeros to a
        multiple of 8.

    Source:
        Cordonnier et al. 2020 (arXiv 1911.03584), quadratic encoding.
    """
    computing = compute_dtype(q.device)
    # Coordinates from the centre of the grid: the smallest terms.
    position = grid.coordinates(q.device).to(computing)
    position = position - position.mean(dim=0)  # shape: (N, D)
    norm = position.square().sum(dim=1, keepdim=True)
    sigma, alpha = (x.to(computing)[:, None, None] for x in gaussian)
    # shape: (heads, 1, 1), 1 / s²; without a logarithm of α, not a number.
    precision = (1 / (sigma.square() + GAUSSIAN_EPSILON)).masked_fill(alpha <= 0, torch.nan)
    query = [position * precision, -precision / 2 * torch.ones_like(norm)]
    key = [position, norm]
    if grid.prefix:
        query.append(alpha.log() - precision / 2 * norm)
        key.append(torch.ones_like(norm))
    return (
        _append(q, torch.cat(query, dim=-1) / scale, grid),
        _append(k, torch.cat(key, dim=-1)[None], grid),
    )


def _append(x: Tensor, channels: Tensor, grid: Grid) -> Tensor:
    """Append ``(heads or 1, N, c)`` to the tokens of the grid, zeros to prefix tokens, zeros up to the full width."""
    fill = -(x.shape[-1] + channels.shape[-1]) % MULTIPLE
    channels = F.pad(channels.to(x.dtype), (0, fill, grid.prefix, 0))
    return torch.cat([x, channels.expand(*x.shape[:2], -1, -1)], dim=-1)


def attend(call: Call) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` by fused attention of extended queries and keys.

    Raises:
        ValueError: If α is not positive; where values are not to be looked at, the output is NaN instead.
    """
    gaussian, v = call.mask.gaussian, call.v
    assert gaussian is not None
    alpha = gaussian[1]
    if is_readable(alpha):
        check(alpha, "bias_logits: alpha", ~(alpha <= 0), "must be positive to have a logarithm (law 10)")
    query, key = extended(call.q, call.k, gaussian, call.mask.grid, call.scale)
    width = max(query.shape[-1], v.shape[-1])
    query, key, values = (F.pad(x, (0, width - x.shape[-1])) for x in (query, key, v))
    bias = call.bias if call.bias is None else call.bias.to(v.dtype)
    return fused(query, key, values, bias, call.scale, call.dropout_p)[..., : v.shape[-1]]
