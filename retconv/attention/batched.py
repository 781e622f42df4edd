"""Masks whose entries depend on data, one for each element of a batch: its elements become heads."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from retconv.attention.inputs import Call
from retconv.masks import Forms


def folded(call: Call) -> Call:
    """The call with the elements of its batch as heads, where the mask has a batch in front of its heads, else itself.

    So every backend that reads entries serves such masks, with the bits that it has for one mask a head.

    Raises:
        ValueError: If the mask has another batch than the queries.
    """
    # Nothing is made here that was not to be made: a kernel has no batch, and log M need not be asked for its shape.
    given = call.mask.given
    if given.get("entries") is None or (call.mask.entries if "log" not in given else call.acting.entries).ndim == 3:
        return call
    acting = call.acting
    batch, heads = call.q.shape[:2]
    front = tuple(acting.entries.shape[:-3])
    if front not in ((1,), (batch,)):
        raise ValueError(f"the mask has a batch of {front}, the queries one of {batch}: give one mask for each, or 1")

    def fold(x: Tensor) -> Tensor:
        return x.expand(batch, heads, -1, -1).flatten(0, 1)

    # What acts on logits is the logarithm, and the entries themselves are then not made.
    form = {"entries": fold(acting.entries)}
    mask = Forms(acting.grid, batch * heads, form, acting.neutral, acting.handed_in)
    if call.placement.adds:
        mask = replace(mask, given={"entries": lambda: fold(call.mask.entries), "log": form["entries"]}, neutral=1.0)
    bias = call.bias
    if bias is not None:
        bias = fold(bias)[None]
    q, k, v = (x.flatten(0, 1)[None] for x in (call.q, call.k, call.v))
    return replace(call, q=q, k=k, v=v, mask=mask, bias=bias)


def unfolded(x: Tensor, call: Call) -> Tensor:
    """Results ``(1, batch · heads, …)`` of a folded call as those of the call, others as they are."""
    return x.reshape(*call.q.shape[:2], *x.shape[2:])
