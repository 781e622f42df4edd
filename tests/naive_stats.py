"""Oracles of the statistics, on Python numbers: every sign, every subset of hypotheses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard deviation with n − 1."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def sign_flip_p(differences: Sequence[int]) -> Fraction:
    """Whole numbers, so that equal sums are equal."""
    outcomes = [
        abs(sum(sign * difference for sign, difference in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return Fraction(sum(outcome >= abs(sum(differences)) for outcome in outcomes), len(outcomes))


def holm(p_values: Sequence[float]) -> list[float]:
    """By closed testing, of which Holm's procedure is a shortcut (Marcus, Peritz and Gabriel 1976).

    A hypothesis is rejected when Bonferroni rejects every intersection of hypotheses that it is part of; its adjusted
    p-value is the largest of theirs.
    """
    adjusted = []
    for i in range(len(p_values)):
        others = [j for j in range(len(p_values)) if j != i]
        subsets = [(i, *rest) for size in range(len(p_values)) for rest in itertools.combinations(others, size)]
        adjusted.append(max(min(1.0, len(subset) * min(p_values[j] for j in subset)) for subset in subsets))
    return adjusted
