"""Deciding a claim from its value at each seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from retconv.stats import interval, sign_flip_p
from retconv.sweep.rule import EXPECTATIONS

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided at this n"


@dataclass(frozen=True)
class Decision:
    """A verdict and the numbers that it rests on.

    Attributes:
        n: Seeds.
        difference: Mean of the values.
        low: Lower end of its t interval.
        high: Upper end.
        p: Exact two-sided p-value of the values under random signs, hence about 0 whatever the threshold: information.
        verdict: ``"supported"``, ``"refuted"`` or ``"undecided at this n"``.
    """

    n: int
    difference: float
    low: float
    high: float
    p: float
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
        ValueError: If ``expect`` is none of the three, there are fewer than three values, or one is not finite.
    """
    if expect not in EXPECTATIONS:
        raise ValueError(f"unknown expectation {expect!r}: choose one of {', '.join(EXPECTATIONS)}")
    low, high = interval(values, confidence)
    above, below = low > threshold, high < threshold
    if expect == "within":
        above, below = -threshold < low and high < threshold, low > threshold or high < -threshold
    holds, fails = (below, above) if expect == "below" else (above, below)
    verdict = SUPPORTED if holds else REFUTED if fails else UNDECIDED
    x = np.asarray(values, np.float64)
    return Decision(len(x), float(x.mean()), low, high, sign_flip_p(x), verdict)
