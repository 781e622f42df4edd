"""Deciding a claim from its value at each seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from retconv.names import unknown
from retconv.stats import MAX_SEEDS, MIN_SEEDS, half_width, interval, sign_flip_p
from retconv.sweep.rule import EXPECTATIONS, threshold_fault

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided at this n"
#: More seeds than anybody would train: a rule that needs more has its value at its threshold.
MOST_SEEDS = 1000
#: An end of an interval that is so near its threshold, as a part of both, is at it.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Decision:
    """A verdict and the numbers that it rests on.

    Attributes:
        n: Seeds.
        difference: Mean of the values.
        low: Lower end of its t interval.
        high: Upper end.
        sd: Their standard deviation over seeds (n − 1).
        p: Exact two-sided p-value of the values under random signs, hence about 0 whatever the threshold: information;
            NaN for more seeds than that test takes (``retconv.stats.MAX_SEEDS``).
        needed: The fewest seeds that decide it if mean and spread stay what they are; None if more than ``MOST_SEEDS``.
        verdict: ``"supported"``, ``"refuted"`` or ``"undecided at this n"``.

    Example:
        >>> retconv.studies.decide([0.9, 1.1, 1.0, 1.2], threshold=0.7).verdict
        'supported'
    """

    n: int
    difference: float
    low: float
    high: float
    sd: float
    p: float
    needed: int | None
    verdict: str


def decide(values: ArrayLike, expect: str = "above", threshold: float = 0.0, confidence: float = 0.95) -> Decision:
    """Decide whether a mean lies where a claim expects it.

    The claim is supported if the whole interval of the mean does, refuted if none of it does, and undecided if the
    threshold (or, for ``"within"``, either of its two ends) lies inside the interval. So a claim of no difference needs
    evidence of its own: an interval that holds 0 decides nothing unless it is also narrow. This is the test of
    equivalence by intervals (Schuirmann 1987), here with the same interval for all claims, which errs to the safe side.

    Args:
        values: ``(n,)``, one for each seed: differences of two arms, or values of one.
        expect: ``"above"`` the threshold, ``"below"`` it, or ``"within"`` ± of it.
        threshold: In the values' unit.
        confidence: Of the interval.

    Raises:
        ValueError: If ``expect`` is none of the three, nothing can lie where it says, there are fewer than three
            values, or one is not finite.

    Example:
        >>> decide([0.9, 1.1, 1.0, 1.2], threshold=0.7).verdict, decide([0.9, 0.2, 1.0], threshold=0.7).verdict
        ('supported', 'undecided at this n')
    """
    if expect not in EXPECTATIONS:
        raise ValueError(unknown("expectation", expect, EXPECTATIONS))
    if fault := threshold_fault(expect, threshold):
        raise ValueError(fault)
    low, high = interval(values, confidence)
    x = np.asarray(values, np.float64)
    # Where all seeds agree, rounding of the differences would decide.
    inner, outer = (threshold + sign * ROUNDING * (float(np.abs(x).max()) + abs(threshold)) for sign in (-1, 1))
    above, below = low > outer, high < inner
    if expect == "within":
        above, below = -inner < low and high < inner, low > outer or high < -outer
    holds, fails = (below, above) if expect == "below" else (above, below)
    verdict = SUPPORTED if holds else REFUTED if fails else UNDECIDED
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    margin = abs(abs(mean) - threshold if expect == "within" else mean - threshold)
    needed = seeds_needed(sd, margin, confidence)
    p = sign_flip_p(x) if len(x) <= MAX_SEEDS else float("nan")
    return Decision(len(x), mean, low, high, sd, p, needed, verdict)


def seeds_needed(sd: float, margin: float, confidence: float = 0.95) -> int | None:
    """The fewest seeds whose interval's half-width is below a margin; None if more than ``MOST_SEEDS``.

    Args:
        sd: The standard deviation over seeds.
        margin: Distance of the mean from the nearest threshold, in the same unit.
        confidence: Of the interval.
    """
    # The half-width falls with n: the first n below the margin is found by bisection.
    low, high = MIN_SEEDS, MOST_SEEDS + 1
    while low < high:
        middle = (low + high) // 2
        enough = half_width(sd, middle, confidence) < margin
        low, high = (low, middle) if enough else (middle + 1, high)
    return low if low <= MOST_SEEDS else None
