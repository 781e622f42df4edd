"""T5's buckets: near offsets have a number each, far ones share one on a logarithmic scale."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.kernels.parameters import check_real, device_of, require_tensors, whole


def t5_bucket(offset: Tensor, buckets: int = 32, reach: int = 128, causal: bool = False) -> Tensor:
    """The bucket of each offset.

    Half of the buckets, ``e``, hold one distance each; the rest share distances up to the reach: bucket
    ``e + ⌊(b − e) log(n/e) / log(reach/e)⌋``, at most b − 1. Without causality keys after the query have a half of
    their own, behind the other.

    Args:
        offset: ``(*S, 1)``, key − query in tokens, integers.
        buckets: Their number, 32 in T5; at least 2, and even if both directions share them, where at least 4.
        reach: Distance from which on all share the last bucket, 128 in T5; more than half of a direction's buckets.
        causal: Whether keys after the query count as at distance 0, as in T5's decoder.

    Returns:
        int64 ``(*S)``, from 0 to buckets − 1.

    Raises:
        ValueError: If the offsets are not 1-D or not whole, or the numbers do not fit one another.

    Source:
        Raffel et al. 2020, T5 (arXiv 1910.10683), section 2.1, and ``_relative_position_bucket`` of its code. That
        rounds the logarithms in float32; here the bounds of the buckets are exact integers.

    Example:
        >>> t5_bucket(torch.tensor([[-8], [0], [8], [200]])).tolist()
        [8, 0, 24, 31]
    """
    require_tensors(offset=offset)
    if offset.shape[-1] != 1:
        raise ValueError(f"t5_bucket is defined on 1-D grids, got offsets with {offset.shape[-1]} axes")
    side = buckets if causal else buckets // 2
    if side < 2 or (buckets % 2 and not causal) or reach <= side // 2:
        raise ValueError(
            f"buckets={buckets} and reach={reach} do not fit: give at least {2 if causal else 4} buckets"
            f"{'' if causal else ', an even number'}, and a reach above half of a direction's"
        )
    signed = whole(offset)[..., 0]
    distance = (-signed).clamp(min=0) if causal else signed.abs()
    bounds = torch.tensor(_bounds(side, reach), device=device_of(offset))
    bucket = torch.bucketize(distance, bounds, right=True)
    return bucket if causal else bucket + side * (signed > 0)


def _bounds(side: int, reach: int) -> list[int]:
    """The least distance of each bucket after the first, in integers: no logarithm is rounded."""
    exact = side // 2
    shared = side - exact
    bounds = list(range(1, exact + 1))
    for j in range(1, shared):
        # The least n with n^shared ≥ exact^(shared − j) reach^j.
        wanted = exact ** (shared - j) * reach**j
        n = bounds[-1]
        while n**shared < wanted:
            n += 1
        bounds.append(n)
    return bounds


def t5(offset: Tensor, table: Tensor, reach: int = 128, causal: bool = False) -> Tensor:
    """T5's bias, ``K[δ] = table[bucket(δ)]``.

    Args:
        offset: ``(*S, 1)``, key − query in tokens, integers.
        table: ``(buckets, heads)``, as ``relative_attention_bias.weight`` in a checkpoint.
        reach: As of ``t5_bucket``.
        causal: As of ``t5_bucket``.

    Returns:
        ``(heads, *S)`` logits, exact copies of entries of the table. T5 does not divide scores by √d.

    Raises:
        ValueError: If the table is not real or has not two axes, or its length does not fit the reach.

    Source:
        As of ``t5_bucket``.

    Example:
        >>> t5(torch.tensor([[-1], [0], [1]]), torch.tensor([[0.0], [1.0], [2.0], [3.0]]), reach=4).tolist()
        [[1.0, 0.0, 3.0]]
    """
    if table.ndim != 2:
        raise ValueError(f"table must be (buckets, heads), got shape {tuple(table.shape)}")
    check_real(table, "table")
    bucket = t5_bucket(offset, table.shape[0], reach, causal)
    return table.to(offset.device)[bucket].movedim(-1, 0)
