"""Statistics of runs that differ by seed: means with intervals, and arms compared seed by seed.

Input is a tidy frame, one row a run, with columns for the arm, the seed and the metric, and for anything within which
arms are compared (data set, model). There is no number without seeds here, and no interval from fewer than three.

Two arms that share a seed share start, order and augmentation as far as they can, so what is compared is the difference
within each seed. The interval assumes that differences are normal. The sign-flip test assumes less: if the arms are
exchangeable, each difference might as well have the other sign, which makes 2ⁿ outcomes equally likely.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

#: Fewest seeds that an interval is made from.
MIN_SEEDS = 3
#: Most seeds of the exact test, which goes through 2ⁿ outcomes.
MAX_SEEDS = 20


def interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean, ``x̄ ± t_{n−1, (1+c)/2} · s / √n``; of paired differences, the paired t interval.

    Args:
        values: ``(n,)``, one for each seed.
        confidence: c, the share of such intervals that hold the true mean.

    Returns:
        Lower and upper end, in the values' units.

    Raises:
        ValueError: If there are fewer than three values, one is not finite, or the confidence is not in (0, 1).

    Example:
        >>> low, high = interval([1.0, 1.2, 0.9])
        >>> round(low, 2), round(high, 2)
        (0.65, 1.41)
    """
    x = _values(values)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence!r}")
    half = half_width(float(x.std(ddof=1)), len(x), confidence)
    return float(x.mean() - half), float(x.mean() + half)


def half_width(sd: float, n: int, confidence: float = 0.95) -> float:
    """Half of a t interval, ``t_{n−1, (1+c)/2} · s / √n``: what n seeds can tell apart.

    Args:
        sd: s, the standard deviation over seeds.
        n: Seeds, at least 2.
        confidence: c.

    Example:
        >>> round(half_width(0.3, 8), 3)
        0.251
    """
    return float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / n**0.5


def sign_flip_p(differences: ArrayLike) -> float:
    """Exact two-sided p-value of paired differences under random signs (Fisher 1935).

    The share of the 2ⁿ ways to choose signs whose mean is at least as far from 0 as the one observed. It is a multiple
    of ``2^(1−n)``: five seeds cannot give less than 0.0625, six can give 0.031.

    Args:
        differences: ``(n,)``, one for each seed.

    Raises:
        ValueError: If there are fewer than three or more than 20 differences, or one is not finite.

    Example:
        >>> sign_flip_p([0.5, 0.7, 0.2, 0.9])
        0.125
    """
    x = _values(differences)
    if len(x) > MAX_SEEDS:
        raise ValueError(f"the exact test goes through 2ⁿ outcomes, for at most {MAX_SEEDS} seeds; got {len(x)}")
    sums = np.zeros(1)
    for difference in x:
        sums = np.concatenate([sums + difference, sums - difference])
    # Sums that differ by rounding alone are equal; scipy's permutation_test allows for it in proportion to their value,
    # which for a sum near 0 is too little.
    rounding = 1e-12 * np.abs(x).sum()
    return float(np.mean(np.abs(sums) >= abs(x.sum()) - rounding))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for how many there are (Holm 1979), so that rejecting those ≤ α errs at all with probability ≤ α.

    In ascending order, ``p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j))``.

    Args:
        p_values: ``(m,)``, each in [0, 1].

    Returns:
        float64 ``(m,)``, in the order given.

    Raises:
        ValueError: If one is not in [0, 1].

    Example:
        >>> holm([0.01, 0.04]).tolist()
        [0.02, 0.04]
    """
    p = np.asarray(p_values, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], got {p.tolist()}")
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def summarise(
    frame: pd.DataFrame, metric: str, by: Sequence[str], seed: str = "seed", confidence: float = 0.95
) -> pd.DataFrame:
    """Mean of a metric over seeds, with its interval, for each arm.

    Args:
        frame: One row a run.
        metric: Column of the numbers.
        by: Columns that say what was run, all but the seed.
        seed: Column of the seed.
        confidence: Of the interval.

    Returns:
        The columns ``by``; ``n``, the number of seeds; ``mean``; ``sd``, the standard deviation over seeds (n − 1);
        ``low`` and ``high``, the t interval of the mean.

    Raises:
        ValueError: If a column is missing, a seed occurs twice in an arm, a value is not finite, or an arm has fewer
            than three seeds.

    Example:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"arm": ["a"] * 3, "seed": [0, 1, 2], "accuracy": [0.7, 0.71, 0.69]})
        >>> summarise(runs, "accuracy", ["arm"])[["arm", "n"]].values.tolist()
        [['a', 3]]
    """
    by = list(by)
    _require_runs(frame, metric, by, seed)
    rows = []
    for key, group in frame.groupby(by, sort=False):
        x = _values(group[metric], " of " + _name(by, key))
        low, high = interval(x, confidence)
        rows.append((*key, len(x), x.mean(), x.std(ddof=1), low, high))
    return pd.DataFrame(rows, columns=[*by, "n", "mean", "sd", "low", "high"])


def compare(
    frame: pd.DataFrame,
    metric: str,
    reference: str,
    arm: str = "arm",
    within: Sequence[str] = (),
    seed: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare every arm with a reference arm, seed by seed.

    Args:
        frame: One row a run.
        metric: Column of the numbers.
        reference: The arm that others are compared with.
        arm: Column of the arm.
        within: Columns within whose values arms are compared, such as data set and model.
        seed: Column of the seed.
        confidence: Of the interval.

    Returns:
        One row for each other arm: the columns ``within``; ``arm``; ``n``, the number of seeds; ``mean`` and
        ``mean_reference``; ``difference``, the mean of arm − reference over seeds; ``sd`` of the differences (n − 1);
        ``low`` and ``high``, their paired t interval; ``p``, exact, by sign flips, missing for more than 20 seeds;
        ``p_least``, the least that n seeds can give; ``p_holm``, adjusted for all rows of the table.

    Raises:
        ValueError: If a column is missing, a seed occurs twice in an arm, a value is not finite, an arm and the
            reference differ in their seeds, the reference is missing or alone, or there are fewer than three seeds.

    Example:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"arm": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2] * 2, "accuracy": [7, 8, 9, 8, 9, 11]})
        >>> round(compare(runs, "accuracy", reference="a")["difference"].item(), 2)
        1.33
    """
    within = list(within)
    _require_runs(frame, metric, [*within, arm], seed)
    rows = []
    for key, group in frame.groupby(within, sort=False) if within else [((), frame)]:
        table = group.pivot(index=seed, columns=arm, values=metric)
        others = [name for name in group[arm].unique() if name != reference]
        if reference not in table or not others:
            where = f" within {_name(within, key)}" if within else ""
            arms = group[arm].unique().tolist()
            raise ValueError(f"nothing to compare{where}: the reference is {reference!r}, the arms are {arms}")
        for other in others:
            name = _name([*within, arm], (*key, other))
            x = _differences(table[other], table[reference], name, reference)
            rows.append(
                {
                    **dict(zip(within, key, strict=True)),
                    arm: other,
                    "n": len(x),
                    "mean": table[other].mean(),
                    "mean_reference": table[reference].mean(),
                    "difference": x.mean(),
                    "sd": x.std(ddof=1),
                    **dict(zip(("low", "high"), interval(x, confidence), strict=True)),
                    "p": sign_flip_p(x) if len(x) <= MAX_SEEDS else np.nan,
                    "p_least": 2.0 ** (1 - len(x)),
                }
            )
    result = pd.DataFrame(rows)
    # A p-value that is missing counts as one that rejects nothing.
    return result.assign(p_holm=np.where(result["p"].isna(), np.nan, holm(result["p"].fillna(1.0))))


def _differences(other: pd.Series, reference: pd.Series, name: str, reference_name: str) -> NDArray[np.float64]:
    """Differences seed by seed, where both arms have the same seeds."""
    lacking = {
        name: other.index[other.isna() & reference.notna()],
        reference_name: other.index[reference.isna() & other.notna()],
    }
    missing = {arm: seeds.tolist() for arm, seeds in lacking.items() if len(seeds)}
    if missing:
        raise ValueError(
            f"arms are compared seed by seed, but seeds are missing: {missing}; run them or leave them out"
        )
    return _values((other - reference).dropna(), f" of {name}")


def _values(values: ArrayLike, whose: str = "") -> NDArray[np.float64]:
    x = np.asarray(values, np.float64)
    if len(x) < MIN_SEEDS:
        raise ValueError(f"{len(x)} seeds{whose}: an interval or a test needs at least {MIN_SEEDS}; run more")
    if not np.isfinite(x).all():
        raise ValueError(f"values{whose} are not all finite: {x.tolist()}")
    return x


def _require_runs(frame: pd.DataFrame, metric: str, by: list[str], seed: str) -> None:
    missing = [column for column in (metric, *by, seed) if column not in frame]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(map(repr, missing))}; it has {list(frame.columns)}")
    if frame.empty:
        raise ValueError("the frame has no runs")
    repeated = frame[frame.duplicated([*by, seed], keep=False)]
    if len(repeated):
        first = tuple(repeated.iloc[0][[*by, seed]])
        raise ValueError(f"{_name([*by, seed], first)} occurs more than once: name in `by` or `within` what differs")
    lacking = frame[frame[[*by, seed, metric]].isna().any(axis=1)]
    if len(lacking):
        raise ValueError(
            f"{len(lacking)} runs lack a value, such as {lacking.iloc[0].to_dict()}: leave them out knowingly"
        )


def _name(columns: Sequence[str], key: Sequence[object]) -> str:
    return ", ".join(f"{column} = {value}" for column, value in zip(columns, key, strict=True))
