"""Attention from a kernel: weights of queries and keys with which a softmax over positions has it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.approximate import channels
from retconv.attention import gpsa_channels
from retconv.attention.factors import centred
from retconv.convert import kernel_to_mask
from retconv.convert.shapes import check_kernel
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import check


@dataclass(frozen=True)
class PositionalAttention:
    """Query and key weights whose softmax over positions is a row-normalised kernel, with the error that they leave.

    ``softmax_k(e_q W_Q · e_k W_K)`` of the encoding e; there is no factor ``1/√d`` in it.

    Attributes:
        grid: The grid, without prefix tokens.
        encoding: E, what a token knows of its position: ``(N, C)``, float64.
        query: ``W_Q``, ``(heads, C, channels)``, float64.
        key: ``W_K``, as query.
        target: The mask of the kernel, each row divided by its sum: ``(heads, N, N)``, float64. A row that sees no key
            is 0: the query's offset leads off the grid, and a softmax attends to the nearest token instead.

    Example:
        >>> shift = torch.zeros(1, 3, 5)
        >>> shift[0, 1, 3] = 1  # one token to the right
        >>> start = retconv.attention_from(shift, (2, 3))
        >>> start.query.shape, start.error.item() < 1e-2
        (torch.Size([1, 4, 3]), True)
    """

    grid: Grid
    encoding: Tensor
    query: Tensor
    key: Tensor
    target: Tensor

    @property
    def weights(self) -> Tensor:
        """What the softmax gives, ``(heads, N, N)``."""
        return torch.softmax((self.encoding @ self.query) @ (self.encoding @ self.key).mT, dim=-1)

    @property
    def error(self) -> Tensor:
        """Largest error of a weight in rows that see a key, float64 ``(heads,)``; 0 where there are none."""
        sees = self.target.sum(dim=-1, keepdim=True) > 0
        return torch.where(sees, (self.weights - self.target).abs(), 0.0).flatten(1).amax(dim=1)


def attention_from(
    kernel: Tensor,
    grid: GridLike,
    *,
    alpha: float = 8.0,
    tolerance: float = 0.0,
    encoding: Tensor | None = None,
) -> PositionalAttention:
    """Weights of queries and keys with which attention is a given convolution, up to the sum of each row.

    A kernel of one offset Δ for each head takes the quadratic encoding: ``W_Q`` and ``W_K`` of the encoding ``e = (p,
    ‖p‖², 1)`` with the logits ``−α ‖p_k − p_q − Δ‖²``, up to a term of the row that softmax removes, in D + 1 channels
    (law 20). Its weight on the wanted key is ``1 / Σ_k exp(−α ‖k − q − Δ‖²)``, which tends to 1 as α grows. Any
    positive kernel takes as many channels as its logarithm has rank after its rows are centred (law 21), of an encoding
    that tells all positions apart. Heads may be of either kind.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …)``, at least 0; its scale does not matter.
        grid: The grid; a prefix is ignored.
        alpha: Of kernels of one offset: how sharp, in tokens⁻²; positive.
        tolerance: Of other kernels: the largest error of a logit; 0 for rounding alone.
        encoding: What tokens know of their position instead, ``(N, C)``, such as the position embedding of a model: the
            weights are then the least-squares ones, exact where it spans the channels.

    Returns:
        The weights, with their error.

    Raises:
        ValueError: If the kernel is not the grid's or has a negative weight, a head of it has weights of 0 and not one
            offset, alpha is not positive, or the encoding is not of N tokens.

    Source:
        Cordonnier et al. 2020 (arXiv 1911.03584), section 3: ``v = −α (1, −2Δ_1, −2Δ_2)``, ``r_δ = (‖δ‖², δ_1, δ_2)``,
        a head for each offset of a convolution. They need relative encodings r_δ; here positions are absolute, as the
        term of the row is free.

    Example:
        >>> shift = torch.zeros(1, 3, 5)
        >>> shift[0, 1, 3] = 1  # one token to the right
        >>> attention_from(shift, (2, 3)).weights[0, 0].round(decimals=2).tolist()
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    grid = Grid.of(grid).without_prefix()
    check_kernel(kernel, grid)
    check(kernel, "attention_from: the kernel", kernel >= 0, "must be at least 0: attention has no negative weights")
    if not alpha > 0:
        raise ValueError(f"attention_from: alpha must be positive, got {alpha}")
    wide = kernel.detach().double()
    flat = wide.flatten(1)
    count = (flat > 0).sum(dim=1)
    impulse = count == 1
    bad = ~impulse & (count < flat.shape[1])
    if bool(bad.any()):
        head = int(bad.int().argmax())
        raise ValueError(
            f"attention_from: head {head} has {int(count[head])} offsets and hides the others, which no softmax of "
            "positions does: give one offset, or a kernel above 0"
        )
    parts = []
    if bool(impulse.any()):
        center = grid.offsets(kernel.device).double().reshape(-1, grid.ndim)[flat[impulse].argmax(dim=1)]
        sharp = gpsa_channels(torch.tensor(alpha, dtype=torch.float64, device=kernel.device), grid, center)
        parts.append((impulse, sharp.query, sharp.key))
    if not bool(impulse.all()):
        fewest = channels(wide[~impulse], grid, tolerance)
        parts.append((~impulse, fewest.query, fewest.key))
    width = max((query.shape[2] for _, query, _ in parts), default=0)
    query, key = wide.new_zeros(2, len(kernel), grid.size, width)
    for heads, u, w in parts:
        query[heads, :, : u.shape[2]], key[heads, :, : w.shape[2]] = u, w
    if encoding is None:
        encoding = quadratic_encoding(grid) if bool(impulse.all()) else torch.eye(grid.size)
        encoding = encoding.to(kernel.device)
    if encoding.ndim != 2 or len(encoding) != grid.size:
        raise ValueError(f"encoding must be ({grid.size}, channels) on {grid}, got shape {tuple(encoding.shape)}")
    encoding = encoding.detach().double()
    inverse = torch.linalg.pinv(encoding)
    mask = kernel_to_mask(wide, grid)
    total = mask.sum(dim=-1, keepdim=True)
    return PositionalAttention(
        grid=grid,
        encoding=encoding,
        query=inverse @ query,
        key=inverse @ key,
        target=mask / torch.where(total == 0, 1.0, total),
    )


def quadratic_encoding(grid: GridLike) -> Tensor:
    """``(p_1, …, p_D, ‖p‖², 1)`` of each token, from the centre of the grid: float64 ``(N, D + 2)``."""
    place = centred(Grid.of(grid).without_prefix(), torch.device("cpu"))
    square = place.square().sum(dim=1, keepdim=True)
    return torch.cat([place, square, torch.ones_like(square)], dim=1)
