"""How many extra channels of queries and keys a log-mask takes, and those channels (law 21)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.certificate import double
from retconv.approximate.known_channels import closed_channels
from retconv.approximate.low_rank import (
    EPS,
    Products,
    chain,
    completed,
    fewest_truncated,
    half_ranges,
    least,
    least_of_blocks,
)
from retconv.attention import ExtraChannels, extended_attention
from retconv.attention.channels import largest_term, visible
from retconv.checks import tolerance as tolerance_of
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import check
from retconv.masks import Forms, MaskLike

#: Where channels act: added to logits, or multiplied with scores.
CHANNEL_PLACEMENTS = ("bias_logits", "retention")


@dataclass(frozen=True)
class Channels:
    """Extra channels of a mask: its logarithm is ``query · key`` up to a constant of each row, within ``error``.

    Attributes:
        grid: The grid.
        placement: ``"bias_logits"``; or ``"retention"``, where the mask itself is ``query · key``.
        query: u, ``(…, heads, length, rank)``, float64; in closed form it carries gradients.
        key: w, as query, or with one head.
        count: How many channels each head takes, int64 ``(…, heads)`` on the CPU; others hold zeros.
        least: No fewer can do, within the tolerance, by singular values of blocks without hidden keys; as count. Where
            it is count, count is the least.
        error: Largest error of an entry that is seen, after the best constant of each row, in logits; rounded up.
            float64, as count. Weights of attention are then off by a factor within ``exp(±2 error)``.
        scale: Largest modulus of an entry that is seen; float64, as count.
        causal: Whether later keys of a line are hidden, and nothing else: a causal kernel does that.
        hidden: Which keys are hidden, bool ``(…, heads, length, length)``; None if none are. Channels say nothing of
            them.
        dtype: Of the mask's logarithm, in which its entries are rounded.

    Example:
        >>> extra = retconv.approximate.channels(retconv.RetNetMask(heads=2), 8)
        >>> extra.query.shape, extra.error.max().item() < 1e-6
        (torch.Size([2, 8, 1]), True)
    """

    grid: Grid
    placement: str
    query: Tensor
    key: Tensor
    count: Tensor
    least: Tensor
    error: Tensor
    scale: Tensor
    causal: bool
    hidden: Tensor | None
    dtype: torch.dtype

    @property
    def rank(self) -> int:
        """Channels of all heads together: the most that one of them takes."""
        return self.query.shape[-1]

    @property
    def exact(self) -> bool:
        """Whether the error is no more than rounding: the tolerance of the mask's dtype, of the largest entry."""
        return bool((self.error <= tolerance_of(self.dtype) * self.scale).all())

    @property
    def saves(self) -> bool:
        """Whether there are fewer channels than any mask can have.

        These are N − 1, with one more for prefix tokens and for retention, where no constant is free; under causality
        too: what is hidden makes generic masks take half as many, but not one of which only the diagonal is not 0.
        """
        return self.rank < self.grid.size - 1 + (self.placement == "retention") + bool(self.grid.prefix)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None, dropout_p: float = 0.0) -> Tensor:
        """``bias_logits`` of the mask by fused attention of longer queries and keys (``attention.extended_attention``).

        Args:
            q: Queries ``(batch, heads, length, d)``.
            k: Keys, as q.
            v: Values ``(batch, heads, length, d_v)``.
            scale: Of the scores; ``d^(−1/2)`` if not given.
            dropout_p: As in ``attention.attend``.

        Returns:
            ``(batch, heads, length, d_v)``.

        Raises:
            ValueError: If shapes do not fit, the channels are those of retention, or their terms are so large that
                dot products in the dtype of q lose its tolerance: what ``precise`` decides of a Gaussian.
        """
        if self.placement != "bias_logits":
            raise ValueError(f"channels of {self.placement!r} are no bias on logits: multiply features by them instead")
        extra = ExtraChannels(self.query, self.key)
        most, largest = tolerance_of(q.dtype) / 2 / torch.finfo(q.dtype).eps, largest_term(extra)
        if largest > most:
            raise ValueError(
                f"terms of these channels reach {largest:.3g} logits, and dot products in {q.dtype} keep its tolerance "
                f"up to {most:.3g}: use attention.attend with backend='sdpa', or q, k and v in a wider dtype"
            )
        bias = None
        if self.hidden is not None and not self.causal:
            bias = torch.zeros((), dtype=q.dtype, device=q.device).masked_fill(self.hidden.to(q.device), -math.inf)
        extra = ExtraChannels(*(x.to(q.device) for x in extra))
        return extended_attention(
            q, k, v, extra, self.grid, causal=self.causal, bias=bias, scale=scale, dropout_p=dropout_p
        )


@host()
def channels(
    mask: MaskLike,
    grid: GridLike,
    tolerance: float = 0.0,
    *,
    causal: bool | None = None,
    placement: str = "bias_logits",
) -> Channels:
    """The fewest extra channels with which plain attention has a mask: ``softmax(S + log M) = softmax(q'·k')``.

    With ``q' = (q, u_q)`` and ``k' = (k, w_k)`` the softmax sees ``S + u_q · w_k``, and in each row it does not see a
    constant. So the number is ``min_c rank(L − c 1ᵀ)`` of ``L = log M``, which is the rank of L after its rows are
    centred: centring is a projection that takes c away. Hidden keys (L = −∞) are free, since a boolean mask or a causal
    kernel hides them: the number is then the least rank of all completions, which is known where rows see ever more, as
    under causality.

    Exact channels are those of the closed form where the mask has one (a Gaussian, a causal decay; in ``"retention"`` a
    causal sum of exponentials, one for each real pole and two for others) and it is the shortest; else the fewest of a
    singular value decomposition of the centred rows, or under causality of a completion, that come within a tolerance:
    the given one, or without it that of the mask's dtype. Fewer may do, down to ``least``, which is proved: of smooth
    masks under causality the completion of least rank divides by rounding, and is given only if its error is none.

    LocAt adds ``α exp(·)`` of a Gaussian to logits: no polynomial in p_k, so no finite number serves every grid.

    Args:
        mask: In any form; of a bias on logits ``Forms.of_log(bias, grid)``. Gates may have a batch in front.
        grid: The grid; neutral prefix tokens take part.
        tolerance: Largest error of an entry in logits (of M itself in ``"retention"``); 0 for rounding alone. One below
            rounding is not reached, as ``error`` then says.
        causal: True takes later keys of a line for hidden, whatever the mask holds there; False refuses hidden keys;
            None takes those that M hides.
        placement: ``"bias_logits"``, or ``"retention"``: M itself is ``u_q · w_k``, no constant is free, and features
            of queries and keys are multiplied by theirs. cosFormer's ``cos(π(q − k) / 2m)`` has 2.

    Returns:
        The channels, with their error and the least number. Only closed forms are differentiable.

    Raises:
        ValueError: If the tolerance is negative, the placement unknown, a weight negative or not a number, keys are
            hidden that may not be, or hidden otherwise than as a chain of rows.
        DenseLimitError: If the mask would be too large.

    Source:
        Cordonnier et al. 2020 (arXiv 1911.03584) for the Gaussian; completions: Woerdeman 1987, The lower order of
        lower triangular operators and minimal rank extensions.

    Example:
        >>> channels(retconv.RetNetMask(2), 64).count.tolist()
        [1, 1]
    """
    grid = Grid.of(grid)
    if not (0 <= tolerance < math.inf):
        raise ValueError(f"channels: tolerance is an error of logits, finite and at least 0, got {tolerance}")
    if placement not in CHANNEL_PLACEMENTS:
        raise ValueError(f"channels: no placement {placement!r}: choose from {', '.join(CHANNEL_PLACEMENTS)}")
    forms = Forms.of(mask, grid)
    adds = placement == "bias_logits"
    table = (forms.log if adds else forms).entries
    values = double(table)
    hidden = _hidden(values, grid, causal)
    flat, seen = values.flatten(0, -3), None if hidden is None else (~hidden).flatten(0, -3)
    if not len(flat):
        raise ValueError(f"channels: the mask {tuple(values.shape)} has no heads: there is nothing to approximate")
    check(flat, "channels: log M" if adds else "channels: M", flat.isfinite() | ~_all(seen, flat), "must be finite")
    flat = flat if seen is None else flat.masked_fill(~seen, 0.0)
    scale = flat.abs().amax(dim=(1, 2))
    # The logarithm of a weight is off by as much as the weight, relatively: near 1 that is more than its own rounding.
    taken = adds and forms.given.get("log") is None
    eps = max(torch.finfo(table.dtype).eps, EPS)
    units = eps * (scale.clamp(min=1.0) if taken else scale)
    exactly = torch.maximum(tolerance_of(table.dtype) * scale, 2 * units * taken)
    bounds = (torch.full_like(scale, tolerance) if tolerance else exactly).tolist()
    heads = [_head(v, None if seen is None else seen[h], bounds[h], adds, float(units[h])) for h, v in enumerate(flat)]
    query, key = (_joined([head[0][side] for head in heads], values.shape[:-2]) for side in range(2))
    fewest = torch.tensor([head[1] for head in heads])
    count = torch.tensor([head[0].query.shape[1] for head in heads])
    causal = hidden is not None and grid.ndim == 1 and bool((hidden == ~visible(grid, hidden.device)).all())
    closed = None if tolerance else closed_channels(forms, adds, causal)
    if closed is not None and closed.query.shape[-1] <= int(count.max()):
        query, key = closed
        count = torch.full_like(count, query.shape[-1])
        fewest = torch.minimum(fewest, count)
    # Of each head's own channels: zeros beside them would count as terms that are rounded.
    each = zip(flat, *_each(query, key, values.shape[:-2]), count.tolist(), strict=True)
    error = torch.stack(
        [
            half_ranges(v, Products(u[:, :c], w[:, :c]), None if seen is None else seen[h], adds)
            for h, (v, u, w, c) in enumerate(each)
        ]
    )
    shape, on = values.shape[:-2], table.device
    return Channels(
        grid=grid,
        placement=placement,
        query=query.to(on),
        key=key.to(on),
        count=count.reshape(shape),
        least=fewest.reshape(shape),
        error=error.reshape(shape),
        scale=scale.reshape(shape),
        causal=causal,
        hidden=hidden if hidden is None else hidden.to(on),
        dtype=table.dtype,
    )


def _all(seen: Tensor | None, values: Tensor) -> Tensor:
    return torch.ones_like(values, dtype=torch.bool) if seen is None else seen


def _hidden(values: Tensor, grid: Grid, causal: bool | None) -> Tensor | None:
    """Which keys are hidden, as values, or None if none are."""
    if causal:
        if grid.ndim > 1:
            raise ValueError(f"channels: causality is an order on a line, got {grid}: use Grid({grid.size})")
        return (~visible(grid, values.device)).expand_as(values) | values.isneginf()
    hidden = values.isneginf()
    if not bool(hidden.any()):
        return None
    if causal is False:
        raise ValueError(
            f"channels: causal=False, and {int(hidden.sum())} entries hide their keys: leave it out, and they are free"
        )
    return hidden


def _head(values: Tensor, seen: Tensor | None, tolerance: float, constants: bool, unit: float) -> tuple[Products, int]:
    """Channels of one head, and the least number; a singular value up to ``unit`` times the length is rounding."""
    if seen is None:
        centred = values - values.mean(dim=1, keepdim=True) if constants else values
        fewest = least(centred, tolerance, unit * len(values))
        return fewest_truncated(centred, values, None, constants, tolerance, fewest), fewest
    steps = chain(seen)
    if steps is None:
        raise ValueError(
            f"channels: {int((~seen).sum())} hidden entries of {seen.numel()} form no chain in which each row sees all "
            "that another sees, as causality does: give a finite log-mask, and hide keys by a bias of attention"
        )
    floor = unit * len(values)
    # What is hidden may also be what the mask of the transpose shows, as of a two-sided relative.
    mirrored = torch.where(seen, values, values.mT)
    centred = mirrored - mirrored.mean(dim=1, keepdim=True) if constants else mirrored
    fewest = least_of_blocks(values, steps, constants, tolerance, floor)
    # A greedy completion may take more than an exact one, and errors of both may add up beyond the tolerance.
    every = [
        completed(values, steps, constants, 0.0, floor),
        completed(values, steps, constants, tolerance, floor),
        fewest_truncated(centred, values, seen, constants, tolerance, fewest),
    ]
    errors = [float(half_ranges(values, products, seen, constants)) for products in every]
    within = [products for products, error in zip(every, errors, strict=True) if error <= tolerance]
    return min(within or [every[errors.index(min(errors))]], key=lambda products: products.query.shape[1]), fewest


def _joined(parts: list[Tensor], shape: torch.Size) -> Tensor:
    """Stack ``(length, count)`` of all heads, filled up with zeros."""
    rank = max(part.shape[1] for part in parts)
    filled = [torch.nn.functional.pad(part, (0, rank - part.shape[1])) for part in parts]
    return torch.stack(filled).reshape(*shape, *filled[0].shape)


def _each(query: Tensor, key: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Channels of each head alone, as numbers."""
    size = (*shape, *query.shape[-2:])
    return double(query).expand(size).flatten(0, -3), double(key).expand(size).flatten(0, -3)
