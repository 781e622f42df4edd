"""Bounds on what a table must show, and tables as files: where they come from, and what must not replace what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scipy.stats import chi2

from retconv.provenance import provenance
from retconv.train import TrainError
from retconv.train.files import make_folder, write_whole

#: Probability that a chi-square bound fails by chance: small, as there are some dozens of them.
CHANCE = 1e-4


class Bound(NamedTuple):
    """A value that must lie between two numbers.

    Example:
        >>> Bound("the residual of what was planted", 0.0, 0.01, 0.05).value
        0.01
    """

    claim: str
    low: float
    value: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.low <= self.value <= self.high

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}: {self.low:8.3g} ≤ {self.value:8.3g} ≤ {self.high:8.3g}  {self.claim}"


def scatter(degrees: int, slack: float) -> tuple[float, float]:
    """Where the mean of so many squared standard normals over its expectation lies, widened by a factor 1 + slack.

    The slack is for what the expectation leaves out: terms of higher order in 1/n.
    """
    low, high = chi2.interval(1 - CHANCE, degrees)
    return float(low / degrees / (1 + slack)), float(high / degrees * (1 + slack))


def origin(small: bool) -> dict[str, str | int]:
    """Scale, command, commit, versions, processor and threads of a table."""
    session = provenance()
    keys = ("command", "commit", "torch", "python", "device", "threads")
    return {"scale": "small" if small else "full"} | {key: session[key] for key in keys}


def write(name: str, table: pd.DataFrame, folder: Path, small: bool) -> Path:
    """Write ``planted_<name>.csv``, whole or not at all.

    Raises:
        TrainError: If a small table would replace a full one, or the folder cannot be written to.
    """
    path = folder / f"planted_{name}.csv"
    if small and path.is_file() and "full" in set(pd.read_csv(path)["scale"]):
        raise TrainError(f"{path} holds the full table, which a small one must not replace: give another folder, --out")
    make_folder(folder)
    content = table.assign(**origin(small)).to_csv(index=False, float_format="%.6g").encode()
    write_whole(path, content)
    return path


def report(bounds: Sequence[Bound]) -> str:
    """The bounds, a line each, and how many hold."""
    return "\n".join([*map(str, bounds), f"{sum(b.holds for b in bounds)} of {len(bounds)} bounds hold"])
