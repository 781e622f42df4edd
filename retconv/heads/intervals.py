"""An interval over images for the share of variance that a kernel explains, from sums of few groups of images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from retconv.grid import Grid

#: Fewest groups of images that an interval is made from.
MIN_GROUPS = 3


class Interval(NamedTuple):
    """An estimate with its confidence interval, each ``(heads,)``.

    Attributes:
        estimate: The jackknife's: free of the bias that is proportional to 1/images.
        low: Lower end.
        high: Upper end.
    """

    estimate: Tensor
    low: Tensor
    high: Tensor


def explained_interval(sums: Tensor, squares: Tensor, counts: Tensor, grid: Grid, confidence: float) -> Interval:
    """The share of variance that one kernel would explain over all images like these.

    With n attention matrices A, ``K̄`` the mean over them and over the ``c_δ`` pairs of each offset, and ``ā`` the mean
    weight, the share is ``(Σ_δ c_δ K̄_δ² − N² ā²) / (mean Σ A² − N² ā²)``: a function of means. Groups of images are
    left out one at a time (delete-m_j jackknife, for groups that need not be equally large). With ``θ`` the share of
    all G groups, ``θ_j`` that without group j of m_j matrices and ``h_j = n / m_j``,

    ``θ_J = G θ − Σ_j (1 − 1/h_j) θ_j`` and ``v = 1/G Σ_j (h_j θ − (h_j − 1) θ_j − θ_J)² / (h_j − 1)``.

    The interval is ``θ_J ± t_{G−1} √v``, cut to [0, 1], together with the same of ``log(θ / (1 − θ))``, which is skewed
    as shares near 1 are. The estimate is centred on ``θ_J`` because θ is too large by about 1/n of the variance of an
    image's own kernel: the mean kernel follows the images that it is the mean of. Images must be independent; windows
    and repeated calls of one image count as one with it. On planted data, images of one kernel, of kernels of their own
    and of noise, 600 draws each, intervals of 95 % held the truth in 94 % or more from 12 images on, in 91 % or more of
    six and 90 % of three. Where the kernel's strength differs from image to image they hold it less often: with
    lognormal strengths of σ = 0.5 in about 90 %.

    Args:
        sums: ``(G, heads, 2 n_1 − 1, …)``, the sum over the matrices of a group and the pairs of each offset; all
            weights may have one number subtracted.
        squares: ``(G, heads)``, the sum of the squares of the same weights.
        counts: ``(G,)``, matrices of each group, at least 1.
        grid: The grid, without prefix tokens.
        confidence: The share of such intervals that hold the true share.

    Returns:
        Estimate and ends; NaN from fewer than three groups, and where weights do not vary.

    Source:
        Busing, Meijer and van der Leeden 1999, Delete-m jackknife for unequal m (Statistics and Computing 9, 3–8).
    """
    groups = len(counts)
    if groups < MIN_GROUPS:
        nothing = torch.full_like(squares.sum(dim=0), torch.nan)
        return Interval(nothing, nothing, nothing)
    sums, counts = sums.flatten(2), counts.to(sums.dtype)
    pairs = grid.pair_count(sums.device).flatten()
    whole = _share(sums.sum(dim=0), squares.sum(dim=0), counts.sum(), pairs)
    without = _share(sums.sum(dim=0) - sums, squares.sum(dim=0) - squares, counts.sum() - counts, pairs)
    ratio = (counts.sum() / counts)[:, None]  # shape: (G, 1)
    quantile = float(stdtrit(groups - 1, (1 + confidence) / 2))
    estimate, error = _jackknife(whole, without, ratio)
    middle, spread = _jackknife(whole.logit(), without.logit(), ratio)
    ends = []
    for sign, furthest in ((-1, torch.fmin), (1, torch.fmax)):
        # A share of 0 or 1 has no finite logarithm, which gives NaN: that end is left out.
        bent = (middle + sign * quantile * spread).sigmoid()
        ends.append(furthest((estimate + sign * quantile * error).clamp(0, 1), bent))
    return Interval(estimate, *ends)


def _jackknife(whole: Tensor, without: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """θ_J and √v of θ and θ_j."""
    estimate = len(without) * whole - ((1 - 1 / ratio) * without).sum(dim=0)
    pseudo = ratio * whole - (ratio - 1) * without
    return estimate, ((pseudo - estimate).square() / (ratio - 1)).mean(dim=0).sqrt()


def _share(sums: Tensor, squares: Tensor, count: Tensor, pairs: Tensor) -> Tensor:
    """θ of ``sums (…, heads, offsets)``, ``squares (…, heads)`` and ``count (…)``; NaN where nothing varies."""
    count = count[..., None]
    constant = (sums.sum(dim=-1) / count).square() / pairs.sum()
    shared = (sums.square() / pairs).sum(dim=-1) / count.square() - constant
    total = squares / count - constant
    return torch.where(total > 0, shared / total, torch.nan)
