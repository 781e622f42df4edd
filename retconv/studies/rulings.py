"""Every rule of every study, applied to the stored tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from retconv.names import nearest
from retconv.stats import MIN_SEEDS
from retconv.stored import TABLES
from retconv.studies.decision import MOST_SEEDS, UNDECIDED, decide
from retconv.studies.tables import load_tables
from retconv.sweep import STUDIES, Rule, Study, load_study
from retconv.sweep.rule import column_of

NOT_RUN, NOT_FINISHED = "not run", "not finished"


def verdicts(folder: str | Path = TABLES, studies: Sequence[Study] | None = None) -> pd.DataFrame:
    """The verdict of every rule, from stored tables alone.

    Args:
        folder: Where the tables stand; by default those that come with the package.
        studies: Whose rules; by default of all studies of the package.

    Returns:
        A row for each rule: ``study``, what the rule says (``claim``, ``table``, ``metric``, ``arm``, ``against``,
        ``at``, ``versus``, ``expect``, ``threshold``), ``alpha`` of the study and the ``confidence`` of the interval,
        ``1 − alpha / m`` where m rules read the same table (Bonferroni); ``planned``, the study's number of seeds;
        ``n``, ``difference``, ``low``, ``high``, ``sd``, ``p``, ``needed`` and ``verdict`` as in ``Decision``;
        ``scale`` of the runs: a table that holds both is read at the full one. While seeds are missing, or runs of a
        seed that are to be averaged, the verdict is ``"not finished"``, or ``"not run"`` without any: an interval that
        is looked at again and again until it decides errs more often than it says.

    Raises:
        ValueError: If a table has runs, but not a column that a rule names.

    Example:
        >>> study = retconv.sweep.load_study("cifar_small")
        >>> verdicts(studies=[study])["verdict"].iloc[1]
        'refuted'
    """
    tables = load_tables(folder)
    rows = []
    for study in map(load_study, STUDIES) if studies is None else studies:
        sharing = Counter(rule.table for rule in study.rules)
        for rule in study.rules:
            table = largest_scale(tables.get(rule.table, pd.DataFrame()))
            scale = table["scale"].iloc[0] if len(table) else ""
            confidence = 1 - study.alpha / sharing[rule.table]
            grid = _grid(study, scale)
            varied = {column_of(key): each for key, each in grid.items() if key != "seed"}
            values = seed_values(rule, table, varied).dropna()
            planned = len({*grid["seed"]})
            numbers: dict[str, Any] = {"n": len(values), "verdict": NOT_FINISHED if len(values) else NOT_RUN}
            if len(values) >= MIN_SEEDS:
                decided = asdict(decide(values.to_numpy(), rule.expect, rule.threshold, confidence))
                numbers = decided | ({"verdict": NOT_FINISHED} if len(values) < planned else {})
            row = asdict(rule) | {"at": _point(rule.at), "versus": _point(rule.versus)}
            ran = {"planned": planned, "scale": scale if len(values) else ""}
            rows.append({"study": study.name} | row | {"alpha": study.alpha, "confidence": confidence} | numbers | ran)
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    *("study", "claim", "table", "metric", "arm", "against", "at", "versus", "expect", "threshold"),
    *("alpha", "confidence", "planned", "n", "difference", "low", "high", "sd", "p", "needed", "verdict", "scale"),
]


def _grid(study: Study, scale: str) -> Mapping[str, Any]:
    return {**study.grid, **(study.small.get("grid", {}) if scale == "small" else {})}


def largest_scale(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the full study if there are any, else those of its small twin: the two are never averaged."""
    full = table["scale"] == "full" if "scale" in table else pd.Series(dtype=bool)
    return table[full] if full.any() else table


def seed_values(rule: Rule, table: pd.DataFrame, varied: Mapping[str, Sequence[Any]] | None = None) -> pd.Series:
    """The value that each seed gives a rule, by seed; NaN where an arm lacks the seed, empty without runs.

    Args:
        rule: The rule.
        table: The one that it reads.
        varied: Values of other columns that each seed was to be run at: those that the rule does not fix are averaged,
            and a seed that lacks some of them has no value yet.

    Raises:
        ValueError: If the table has runs, but not a column that the rule names.
    """
    runs = _Runs(rule, table, varied or {})
    values = runs.contrast(rule.at)
    return values - runs.contrast(rule.versus) if rule.versus else values


@dataclass(frozen=True)
class _Runs:
    """A rule on its table."""

    rule: Rule
    table: pd.DataFrame
    varied: Mapping[str, Sequence[Any]]

    def contrast(self, point: Mapping[str, Any]) -> pd.Series:
        values = self.mean(self.rule.arm, point)
        return values - self.mean(self.rule.against, point) if self.rule.against else values

    def mean(self, arm: str, point: Mapping[str, Any]) -> pd.Series:
        """By seed, the mean over an arm's rows at a point, such as over layers."""
        table, metric = self.table, self.rule.metric
        if table.empty:
            return pd.Series(dtype=float)
        for name in ("arm", "seed", metric, *point):
            if name not in table:
                raise ValueError(
                    f"the rule {self.rule.claim!r} reads {name!r}, no column of {self.rule.table}: "
                    f"{nearest(name, table)}"
                )
        if not pd.api.types.is_numeric_dtype(table[metric]):
            raise ValueError(
                f"the rule {self.rule.claim!r} reads {metric!r} of {self.rule.table}, which holds no numbers: name "
                "another metric"
            )
        matches = table["arm"] == arm
        for column, value in point.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is None:  # which a table that was read has as a missing value
                matches &= table[column].isna()
            elif number:
                matches &= (pd.to_numeric(table[column], errors="coerce") - value).abs() < 1e-9
            else:
                matches &= table[column].map(str) == str(value)
        free = [name for name in self.varied if name not in point]
        points = table.loc[matches, ["seed", *free]].drop_duplicates().groupby("seed").size()
        whole = points.index[points == math.prod(len(self.varied[name]) for name in free)]
        return table[matches & table["seed"].isin(whole)].groupby("seed")[metric].mean()


def _point(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in point.items())


def readable(table: pd.DataFrame) -> str:
    """The verdicts as text, one claim a line with its numbers below it; of an open one, what would decide it, and how.

    Example:
        >>> study = retconv.sweep.load_study("cifar_small")
        >>> print(readable(retconv.studies.verdicts(studies=[study])[:1]).splitlines()[0])
        cifar_small: The logarithm of a learnable Manhattan decay, added to the logits, is worth 0.7 points.
    """
    lines = []
    for row in table.to_dict("records"):
        lines.append(f"{row['study']}: {row['claim']}")
        text = str(row["verdict"])
        if row["n"] < row["planned"] and row["verdict"] != NOT_RUN:
            text += f", {row['n']:.0f} of {row['planned']:.0f} seeds"
        if not pd.isna(row["difference"]):
            text += f": {interval_text(row)}, n = {row['n']:.0f}, {row['expect']} {row['threshold']:g} expected"
            text += f"; {row['scale']}"
        if row["verdict"] in (UNDECIDED, NOT_FINISHED) and not pd.isna(row["difference"]):
            text += f"; {outlook(row)}"
        lines.append(f"    {text}")
    return "\n".join(lines)


def interval_text(row: Mapping[Hashable, Any]) -> str:
    """``+0.46 [-0.09, +1.00]``: a difference and its interval.

    The mean of eight accuracies in hundredths is often half a hundredth: which way it goes must not hang on a last bit.
    """
    difference, low, high = (round(row[name], 9) for name in ("difference", "low", "high"))
    return f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"


def outlook(row: Mapping[Hashable, Any]) -> str:
    """How many seeds would decide a row's rule, and which way, if mean and spread stayed what they are."""
    value, threshold = row["difference"], row["threshold"]
    holds = {"above": value > threshold, "below": value < threshold, "within": abs(value) < threshold}[row["expect"]]
    seeds = f"more than {MOST_SEEDS}" if pd.isna(row["needed"]) else f"{row['needed']:.0f}"
    return f"{seeds} seeds would {'support' if holds else 'refute'} it"


def markdown(table: pd.DataFrame) -> str:
    """The verdicts as a table in Markdown, a rule a row.

    Example:
        >>> study = retconv.sweep.load_study("cifar_small")
        >>> markdown(retconv.studies.verdicts(studies=[study])).splitlines()[0]
        '| rule, written before the runs | value [interval] | wanted | seeds | verdict |'
    """
    lines = ["| rule, written before the runs | value [interval] | wanted | seeds | verdict |", "|---|---|---|---|---|"]
    for row in table.to_dict("records"):
        known = not pd.isna(row["difference"])
        value = interval_text(row) if known else "–"
        verdict = str(row["verdict"])
        if verdict in (UNDECIDED, NOT_FINISHED) and known:
            verdict += f"; {outlook(row)}"
        seeds = f"{row['n']:.0f} of {row['planned']:.0f}"
        expectation = f"{row['expect']} {row['threshold']:g}"
        lines.append(f"| {row['claim']} | {value} | {expectation} | {seeds} | {verdict} |")
    return "\n".join(lines)
