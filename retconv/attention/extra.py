"""Closed forms of extra channels (law 21): log-masks that are dot products of a query's and a key's numbers.

``log M[q, k] = u_q · w_k + c_q`` with a term c of the query alone, which the softmax of its row removes. Each function
gives u and w, as many numbers a token as the log-mask has channels. Prefix tokens are neutral: theirs are 0, and where
c is not, one more channel carries it, since it no longer stands in all of a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.attention.factors import (
    ExtraChannels,
    centred,
    decay_factors,
    gaussian_factors,
    line_factors,
    placed,
    quadratic,
)
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import as_parameter, check, compute_dtype, result_dtype
from retconv.watching import is_readable


def gaussian_channels(sigma: Tensor | float, grid: GridLike, alpha: Tensor | float = 1.0) -> ExtraChannels:
    """A Gaussian, ``log M = log α − ‖p_k − p_q‖² / 2s²`` with s² = σ² + ε: law 20.

    ``u = (p_q / s², −1 / 2s²)``, ``w = (p_k, ‖p_k‖²)``: D + 1 channels on axes of at least three tokens. An axis of two
    has no square of its own (both are 1/4 from the centre), one of one token no channel at all. Prefix tokens cost one
    more, ``(log α − ‖p_q‖² / 2s², 1)``.

    Args:
        sigma: Number or ``(heads,)``, in tokens.
        grid: The grid.
        alpha: Number or ``(heads,)``, positive; it is seen beside prefix tokens only.

    Returns:
        u ``(heads, length, channels)`` and w ``(1, length, channels)``, computed in float64, in the dtype of both.

    Raises:
        ValueError: If a parameter is not finite, or alpha not positive.

    Source:
        Cordonnier et al. 2020 (arXiv 1911.03584), quadratic encoding.

    Example:
        >>> gaussian_channels(2.0, (14, 14)).query.shape
        torch.Size([1, 196, 3])
    """
    grid = _open(grid, "gaussian_channels")
    dtype = result_dtype(sigma, alpha)
    sigma, alpha = as_parameter(sigma, "sigma"), as_parameter(alpha, "alpha")
    check(alpha, "alpha", alpha > 0, "must be positive to have a logarithm (law 10)")
    return gaussian_factors(sigma, alpha.to(sigma.device), grid).to(dtype)


def gpsa_channels(alpha: Tensor | float, grid: GridLike, center: Tensor | None = None) -> ExtraChannels:
    """ConViT's positional scores, ``−α (‖δ − Δ‖² − ‖Δ‖²)``: a Gaussian that is shifted by Δ, D + 1 channels.

    Args:
        alpha: Number or ``(heads,)``, locality strength in tokens⁻².
        grid: The grid.
        center: Δ, ``(heads, D)``; 0 if not given.

    Returns:
        u ``(heads, length, channels)`` and w ``(1, length, channels)`` in the dtype of both.

    Raises:
        ValueError: If a parameter is not finite, or center has another number of axes.

    Source:
        d'Ascoli et al. 2021, ConViT (arXiv 2103.10697), section 2.

    Example:
        >>> query, key = gpsa_channels(torch.tensor([1.0]), (2, 2))
        >>> query.shape, key.shape
        (torch.Size([1, 4, 2]), torch.Size([1, 4, 2]))
    """
    grid, dtype = _open(grid, "gpsa_channels"), result_dtype(alpha, center)
    alpha = as_parameter(alpha, "alpha")
    shift = torch.zeros(1, grid.ndim, device=alpha.device) if center is None else as_parameter(center, "center", axes=2)
    _require_axes(shift, grid, "center")
    strength, shift = (x.to(alpha.device, compute_dtype(alpha.device)) for x in (alpha, shift))
    offset = strength[:, None] * shift.square().sum(dim=-1, keepdim=True)  # shape: (heads, 1)
    return quadratic(shift[:, None], 2 * strength[:, None], offset, grid).to(dtype)


def shifted_gaussian_channels(shift: Tensor, precision: Tensor, grid: GridLike) -> ExtraChannels:
    """A Gaussian of each query's own, ``log M = −½ (δ − μ_q)ᵀ A_q (δ − μ_q)`` with ``A = Σ⁻¹``.

    A quadratic in p_k whose coefficients are the query's: with ``m = p_q + μ_q``, ``u = (A m, −½ A_dd, −A_de)`` and
    ``w = (p_d, p_d², p_d p_e)``. On axes of at least three tokens these are D(D + 3)/2 channels, in two dimensions 5;
    of a diagonal A 2D, there 4; of a multiple of the identity D + 1.

    Args:
        shift: μ, ``(…, heads, N, D)``, in tokens.
        precision: A, ``(…, heads, N, D, D)``, of which the symmetric part counts; its diagonal ``(…, heads, N, D)``; or
            a number for each query, ``(…, heads, N)``.
        grid: The grid, whose N tokens have a row each; prefix tokens have none.

    Returns:
        u ``(…, heads, length, channels)`` and w ``(1, length, channels)``, computed in float64, in the dtype of both.

    Raises:
        ValueError: If the shapes do not belong together and to the grid.

    Example:
        >>> query, key = shifted_gaussian_channels(torch.zeros(1, 4, 2), torch.eye(2).expand(1, 4, 2, 2), (2, 2))
        >>> query.shape, key.shape
        (torch.Size([1, 4, 3]), torch.Size([1, 4, 3]))
    """
    grid = _open(grid, "shifted_gaussian_channels")
    _require_axes(shift, grid, "shift")
    shapes = {0: (), 1: (grid.ndim,), 2: (grid.ndim, grid.ndim)}
    last = shapes.get(precision.ndim - shift.ndim + 1)
    if shift.shape[-2] != grid.size or last is None or precision.shape != shift.shape[:-1] + last:
        raise ValueError(
            f"shift must be (…, heads, {grid.size}, {grid.ndim}) on {grid}, and precision (…, heads, {grid.size}), "
            f"that with an axis of {grid.ndim}, or with two, got {tuple(shift.shape)} and {tuple(precision.shape)}"
        )
    dtype, device = result_dtype(shift, precision), shift.device
    wide = [x.to(compute_dtype(device)) for x in (shift, precision)]
    return quadratic(wide[0], wide[1], None, grid).to(dtype)


def alibi_channels(slope: Tensor | float, grid: GridLike) -> ExtraChannels:
    """ALiBi under causality, ``−m (q − k)`` for k ≤ q: one channel, ``u = m``, ``w = k``.

    Only where later keys are hidden: on both sides, ``−m |δ|`` has N − 1 channels, which saves nothing.

    Args:
        slope: m, number or ``(heads,)``, in logits per token.
        grid: A line.

    Returns:
        u ``(heads, length, channels)`` and w ``(1, length, channels)`` in slope's dtype; 2 channels with prefix tokens.

    Raises:
        ValueError: If slope is not finite, or the grid has several axes.

    Source:
        Press et al. 2022, ALiBi (arXiv 2108.12409), section 3.

    Example:
        >>> query, key = alibi_channels(torch.tensor([0.5]), 3)
        >>> (query @ key.mT)[0].tolist()  # −(q − k)/2 up to a constant of each row
        [[-0.5, 0.0, 0.5], [-0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]]
    """
    dtype = result_dtype(slope)
    return line_factors(as_parameter(slope, "slope"), _line(grid, "alibi_channels")).to(dtype)


def decay_channels(gamma: Tensor | float, grid: GridLike) -> ExtraChannels:
    """RetNet's causal decay, ``log M = (q − k) log γ`` for k ≤ q: ALiBi with the slope ``−log γ``, one channel.

    Args:
        gamma: Number or ``(heads,)``, in (0, 1].
        grid: A line.

    Returns:
        As ``alibi_channels``, in gamma's dtype.

    Raises:
        ValueError: If gamma is not finite or outside (0, 1], or the grid has several axes.

    Source:
        Sun et al. 2023, Retentive Network (arXiv 2307.08621), eq. (5).

    Example:
        >>> query, key = decay_channels(torch.tensor([0.5]), 3)
        >>> (query @ key.mT).exp()[0].tolist()  # γ^(q − k) up to a factor of each row
        [[0.5, 1.0, 2.0], [0.5, 1.0, 2.0], [0.5, 1.0, 2.0]]
    """
    dtype = result_dtype(gamma)
    gamma = as_parameter(gamma, "gamma")
    check(gamma, "gamma", (gamma > 0) & (gamma <= 1), "must lie in (0, 1]")
    return decay_factors(gamma, _line(grid, "decay_channels")).to(dtype)


def forget_channels(log_gamma: Tensor, grid: GridLike | None = None) -> ExtraChannels:
    """FoX's forget gate, ``log M[q, k] = Σ_{k < t ≤ q} log γ_t = F_q − F_k`` for k ≤ q: one channel, ``w = −F``.

    F is the sum of the gates 2 … t: gate 1 is never used (law 22), and has the gradient 0.

    Args:
        log_gamma: ``(…, heads, N)``, logarithms of gates in (0, 1].
        grid: A line, which may have prefix tokens; without any if not given.

    Returns:
        u and w, ``(…, heads, length, channels)`` each, computed in float64, in the dtype of the gates; 2 channels with
        prefix tokens.

    Raises:
        ValueError: If the gates are not those of the grid, or not finite: a gate of 0 hides what is before it, which a
            boolean mask does and no channel. Where values are not to be looked at, it gives NaN.

    Source:
        Lin et al. 2025, Forgetting Transformer (arXiv 2503.02130). It hands −F and F to a kernel of its own.

    Example:
        >>> query, key = forget_channels(torch.tensor([[0.5, 0.5, 0.25]]).log())
        >>> query.shape, key.shape
        (torch.Size([1, 3, 1]), torch.Size([1, 3, 1]))
    """
    line = _line(log_gamma.shape[-1] if grid is None else grid, "forget_channels")
    if log_gamma.ndim < 2 or log_gamma.shape[-1] != line.size:
        raise ValueError(f"log_gamma must be (…, heads, {line.size}) on {line}, got shape {tuple(log_gamma.shape)}")
    if is_readable(log_gamma):
        check(log_gamma, "log_gamma", log_gamma.isfinite(), "must be finite: a gate of 0 needs a mask that hides keys")
    gates = log_gamma.to(compute_dtype(log_gamma.device))
    total = F.pad(gates[..., 1:].cumsum(dim=-1), (1, 0))
    total = total - total.mean(dim=-1, keepdim=True)  # the smallest terms
    query = torch.ones_like(total)[..., None]
    extra = placed(query[..., : line.size > 1], -total[..., None][..., : line.size > 1], total, line)
    return extra.to(result_dtype(log_gamma))


def cosine_channels(amplitude: Tensor, frequency: Tensor, grid: GridLike, phase: Tensor | None = None) -> ExtraChannels:
    """Cosines that are added to logits, ``Σ_f a_f cos(ω_f · δ + φ_f)``: two channels for each frequency.

    ``u = a (cos(ω·p_q − φ), sin(ω·p_q − φ))``, ``w = (cos ω·p_k, sin ω·p_k)``. Nothing is left over, so prefix tokens
    cost no more. Sandwich is the sum over ``ω_i = 10000^(−2i/d)``, i = 0 … d/2 − 1, times a number of each head.

    Args:
        amplitude: a, ``(heads, frequencies)``, in logits.
        frequency: ω, ``(frequencies, D)``, in rad/token.
        grid: The grid.
        phase: φ, ``(heads, frequencies)``; 0 if not given.

    Returns:
        u ``(heads, length, 2 · frequencies)`` and w ``(1, length, 2 · frequencies)``, in amplitude's dtype.

    Raises:
        ValueError: If the shapes do not belong together and to the grid.

    Source:
        Chi et al. 2023, Sandwich (arXiv 2212.10356), section 5.

    Example:
        >>> query, key = cosine_channels(torch.ones(1, 1), torch.tensor([[torch.pi]]), 3)
        >>> (query @ key.mT).round()[0].tolist()
        [[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]
    """
    grid = _open(grid, "cosine_channels")
    shift = torch.zeros_like(amplitude) if phase is None else phase
    if amplitude.ndim != 2 or shift.shape != amplitude.shape or frequency.shape != (amplitude.shape[1], grid.ndim):
        raise ValueError(
            f"amplitude and phase must be (heads, frequencies), and frequency (frequencies, {grid.ndim}), got "
            f"{tuple(amplitude.shape)}, {tuple(shift.shape)} and {tuple(frequency.shape)}"
        )
    computing = compute_dtype(amplitude.device)
    size, shift, omega = (x.to(computing) for x in (amplitude, shift, frequency))
    angle = centred(grid, amplitude.device) @ omega.mT  # shape: (N, frequencies)
    query = angle - shift[:, None]
    parts = [size[:, None] * torch.cos(query), size[:, None] * torch.sin(query)]
    key = torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)[None]
    return placed(torch.cat(parts, dim=-1), key, None, grid).to(result_dtype(amplitude))


def _open(grid: GridLike, name: str) -> Grid:
    grid = Grid.of(grid)
    grid.require_open(name, "the distance around a ring is no product of coordinates, use grid.opened()")
    return grid


def _line(grid: GridLike, name: str) -> Grid:
    line = _open(grid, name)
    if line.ndim != 1:
        raise ValueError(f"{name}: causality is an order on a line, got {line}: use Grid({line.size})")
    return line


def _require_axes(shift: Tensor, grid: Grid, name: str) -> None:
    if shift.ndim < 2 or shift.shape[-1] != grid.ndim:
        raise ValueError(f"{name} must have a last axis of {grid.ndim} on {grid}, got shape {tuple(shift.shape)}")
