"""Attention with a planted mask, and what of the mask its outputs cannot show."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacfwd

from retconv.attention import attend
from retconv.grid import Grid
from retconv.masks import Mask

#: Features of a token, channels of queries and keys, and of values.
FEATURES, CHANNELS, VALUES = 8, 4, 4

#: Sequences whose outputs are differentiated at once.
_AT_ONCE = 32

Placement = Literal["bias_logits", "multiply_logits"]
#: What is free: nothing, one constant for all pairs, one for each query, or the scale that mask and scores share.
Free = Literal["nothing", "constant", "rows", "scale"]


class Content(NamedTuple):
    """Tokens ``(n, 1, N, FEATURES)`` that give queries and keys, and values ``(n, heads, N, VALUES)``, all white."""

    tokens: Tensor
    values: Tensor


class MaskedAttention(nn.Module):
    """Softmax attention whose query projection and mask are parameters, and whose keys are given.

    Args:
        mask: The mask; beside logits its entries are the bias B itself, ``M = exp B``, unless it is a decay.
        grid: The grid.
        placement: ``"bias_logits"``, softmax(S + B), or ``"multiply_logits"``, softmax(M ⊙ S).
        logarithmic: Whether the mask holds B.
        queries: ``(heads, FEATURES, CHANNELS)``, the query projection at the start.
        keys: ``(heads, FEATURES, CHANNELS)``, the key projection.
        learn_queries: Whether the query projection is a parameter.
    """

    keys: Tensor
    queries: Tensor

    def __init__(
        self,
        mask: Mask,
        grid: Grid,
        placement: Placement,
        logarithmic: bool,
        queries: Tensor,
        keys: Tensor,
        learn_queries: bool,
    ) -> None:
        super().__init__()
        self.mask, self.grid, self.placement, self.logarithmic = mask, grid, placement, logarithmic
        self.queries = nn.Parameter(queries.clone(), requires_grad=learn_queries)
        self.register_buffer("keys", keys)

    def entries(self) -> Tensor:
        """``(heads, N, N)``: the bias B, or the mask M that multiplies."""
        dense = self.mask(self.grid)
        return dense.log() if self.placement == "bias_logits" and not self.logarithmic else dense

    def forward(self, content: Content) -> Tensor:
        """``(n, heads, N, VALUES)``."""
        q, k = content.tokens @ self.queries, content.tokens @ self.keys
        # The logarithm of an exponential, so that the bias may have either sign and still goes through the placement.
        mask = self.entries().exp() if self.placement == "bias_logits" else self.entries()
        return attend(q, k, content.values, mask, self.grid, backend="reference", placement=self.placement)


def content(grid: Grid, heads: int, n: int, generator: torch.Generator) -> Content:
    """White content of n sequences, in float64."""
    tokens, values = (n, 1, grid.size, FEATURES), (n, heads, grid.size, VALUES)
    return Content(*(torch.randn(s, dtype=torch.float64, generator=generator) for s in (tokens, values)))


def seen(entries: Tensor, planted: Tensor, free: Free) -> Tensor:
    """The part of a mask that outputs can show, by head: what is free is projected out, or scaled to fit best.

    Args:
        entries: ``(heads, N, N)``.
        planted: ``(heads, N, N)``, the mask of which ``entries`` is an estimate; it sets the scale where that is free.
        free: What is free. ``"rows"``: softmax(S + B) is the same with a constant added to a row of B. ``"constant"``:
            of a kernel table only one constant for all rows is left, as every query has the offset 0, whose entry all
            share. ``"scale"``: (t M) ⊙ (S / t) is M ⊙ S.
    """
    if free == "rows":
        return entries - entries.mean(-1, keepdim=True)
    if free == "constant":
        return entries - entries.mean((-2, -1), keepdim=True)
    if free == "scale":
        product = (entries * planted).sum((-2, -1), keepdim=True)
        return entries * product / entries.square().sum((-2, -1), keepdim=True)
    return entries


class Information(NamedTuple):
    """What one sequence tells of an attention's parameters, from outputs with unit noise.

    Attributes:
        unseen: Directions of its parameters, all heads together, that change no output: those of ``free``.
        squared: The least expected squared error of what can be seen of the mask, all heads together, from one
            sequence: over n sequences with noise s it is ``s² / n`` times this (Cramér and Rao).
        degrees: Degrees of freedom of the chi-square variable that scatters like that error (Satterthwaite): fewer than
            numbers that are learnt, as some are told worse than others.
    """

    unseen: int
    squared: float
    degrees: float


def information(model: MaskedAttention, data: Content, free: Free) -> Information:
    """Fisher information of a model's parameters at their present values, as a mean over sequences.

    Args:
        model: The model that was planted.
        data: Content to average over; enough outputs to tell all parameters.
        free: What is free in its mask.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    planted = model.entries().detach()

    def jacobian(function: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        with warnings.catch_warnings():
            # torch scripts its forward derivatives, and warns that scripting goes.
            warnings.simplefilter("ignore", FutureWarning)
            columns = jacfwd(function)(parameters)
        return torch.cat([columns[name].reshape(-1, p.numel()) for name, p in parameters.items()], dim=1)

    def visible(p: dict[str, Tensor]) -> Tensor:
        return seen(_entries(model, p), planted, free)

    fisher = torch.zeros(())
    for part in zip(data.tokens.split(_AT_ONCE), data.values.split(_AT_ONCE), strict=True):
        outs = jacobian(partial(_outputs, model, Content(*part)))
        fisher = fisher + outs.mT @ outs / len(data.tokens)
    rank = int(torch.linalg.matrix_rank(fisher, hermitian=True, rtol=1e-10))
    slopes = jacobian(visible)
    covariance = slopes @ torch.linalg.pinv(fisher, hermitian=True, rtol=1e-10) @ slopes.mT
    trace = float(covariance.diagonal().sum())
    return Information(len(fisher) - rank, trace, trace**2 / float(covariance.square().sum()))


def _outputs(model: MaskedAttention, data: Content, parameters: dict[str, Tensor]) -> Tensor:
    return functional_call(model, parameters, (data,))


def _entries(model: MaskedAttention, parameters: dict[str, Tensor]) -> Tensor:
    """``model.entries()`` with other parameters."""
    own = {name.removeprefix("mask."): p for name, p in parameters.items() if name.startswith("mask.")}
    dense = functional_call(model.mask, own, (model.grid,))
    return dense.log() if model.placement == "bias_logits" and not model.logarithmic else dense
