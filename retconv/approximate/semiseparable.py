"""How many recurrences a mask needs: the ranks of its blocks off the diagonal."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.boundary import check_tolerance
from retconv.approximate.certificate import double
from retconv.kernels.parameters import require_tensor


class SemiseparableRank(NamedTuple):
    """Semiseparable rank of a mask.

    Attributes:
        lower: Of the blocks below the diagonal, from the past; int64 ``(heads,)``.
        upper: Of those above it, from the future; 0 for a causal mask.

    Example:
        >>> lower, upper = retconv.approximate.semiseparable_rank(retconv.RetNetMask(heads=1)(8), tolerance=1e-6)
        >>> lower.tolist(), upper.tolist()
        ([1], [0])
    """

    lower: Tensor
    upper: Tensor


@host()
def semiseparable_rank(mask: Tensor, tolerance: float) -> SemiseparableRank:
    """The largest numerical rank of ``M[k:, :k]`` and of ``M[:k, k:]`` over all splits k.

    All that tokens from k on learn of those before it passes through ``M[k:, :k]``, so its rank is the least size of
    the state of a recurrence that computes ``M x``. RetNet has rank 1 (law 6); a sum of R complex exponentials at most
    R, counted with conjugates; so the rank by tolerance says how many retention heads a mask needs (law 16).

    A singular value counts if it is above ``tolerance · ‖M‖₂``: what is dropped from a block costs at most that part
    of the mask's own operator norm.

    Args:
        mask: ``(heads, N, N)``, real, rows are queries; its tokens in the order of the recurrence.
        tolerance: In [0, 1). At 0 rounding counts: a mask of float64 has its rank at 1e-13 or above.

    Returns:
        Ranks of both sides, on the CPU; 0 on one token.

    Raises:
        ValueError: If the mask is not real, finite and ``(heads, N, N)``, or the tolerance is outside [0, 1).

    Source:
        Dao and Gu 2024, Transformers are SSMs (arXiv 2405.21060), section 3, for the lower triangle.

    Example:
        >>> semiseparable_rank(retconv.DecayMask(heads=1)(8), 1e-6).lower.tolist()  # what one state can do
        [1]
    """
    require_tensor(mask, "mask")
    if mask.ndim != 3 or mask.shape[1] != mask.shape[2] or not mask.is_floating_point():
        raise ValueError(
            f"semiseparable_rank: mask must be a real (heads, N, N), got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    if not bool(torch.isfinite(mask).all()):
        raise ValueError("semiseparable_rank: mask must be finite: an additive mask has a rank only after exp")
    check_tolerance(tolerance, "semiseparable_rank", of="‖M‖₂")
    values = double(mask)
    floor = tolerance * torch.linalg.matrix_norm(values, ord=2)[:, None]
    lower, upper = (torch.zeros(len(mask), dtype=torch.int64) for _ in range(2))
    for k in range(1, mask.shape[1]):
        lower = torch.maximum(lower, (torch.linalg.svdvals(values[:, k:, :k]) > floor).sum(dim=1))
        upper = torch.maximum(upper, (torch.linalg.svdvals(values[:, :k, k:]) > floor).sum(dim=1))
    return SemiseparableRank(lower, upper)
