"""Errors of the statistics; ``test_errors`` raises each."""

import pandas as pd

from retconv.stats import compare, holm, interval, sign_flip_p, summarise
from tests.error_table import Error

RUNS = pd.DataFrame(
    [{"arm": arm, "seed": seed, "accuracy": 90.0 + seed} for arm in ("plain", "gmm") for seed in (0, 1, 2)]
)

STATS: dict[str, Error] = {
    "two seeds": (
        lambda: interval([1.0, 2.0]),
        ValueError,
        "2 seeds: an interval or a test needs at least 3; run more",
    ),
    "test of two": (lambda: sign_flip_p([1.0, 2.0]), ValueError, "2 seeds: an interval or a test needs at least 3"),
    "arm of two seeds": (
        lambda: summarise(RUNS.iloc[:5], "accuracy", ["arm"]),
        ValueError,
        "2 seeds of arm = gmm: an interval or a test needs at least 3",
    ),
    "many seeds": (lambda: sign_flip_p(range(21)), ValueError, "at most 20 seeds; got 21"),
    "not finite": (lambda: interval([1.0, 2.0, float("inf")]), ValueError, r"not all finite: \[1.0, 2.0, inf\]"),
    "confidence": (lambda: interval([1, 2, 3], 95), ValueError, r"confidence must lie in \(0, 1\), got 95"),
    "p-value": (lambda: holm([0.1, 1.5]), ValueError, r"p-values lie in \[0, 1\], got \[0.1, 1.5\]"),
    "column": (
        lambda: summarise(RUNS, "loss", ["arm"]),
        ValueError,
        r"no column 'loss'; it has \['arm', 'seed', 'accuracy'\]",
    ),
    "no seed": (lambda: summarise(RUNS.drop(columns="seed"), "accuracy", ["arm"]), ValueError, "no column 'seed'"),
    "no runs": (lambda: compare(RUNS.iloc[:0], "accuracy", "plain"), ValueError, "the frame has no runs"),
    "seed twice": (
        lambda: compare(pd.concat([RUNS, RUNS.iloc[:1]]), "accuracy", "plain"),
        ValueError,
        "arm = plain, seed = 0 occurs more than once: name in `by` or `within`",
    ),
    "missing value": (
        lambda: compare(RUNS.assign(accuracy=[1, 2, None, 4, 5, 6]), "accuracy", "plain"),
        ValueError,
        "1 runs lack a value, such as .*'seed': 2",
    ),
    "unpaired": (
        lambda: compare(RUNS.assign(seed=[0, 1, 2, 0, 1, 3]), "accuracy", "plain"),
        ValueError,
        r"seed by seed, but seeds are missing: \{'arm = gmm': \[2\], 'plain': \[3\]\}; run them",
    ),
    "no reference": (
        lambda: compare(RUNS.assign(data="c"), "accuracy", "vit", within=["data"]),
        ValueError,
        r"nothing to compare within data = c: the reference is 'vit', the arms are \['plain', 'gmm'\]",
    ),
}

TABLES = {"stats": STATS}
