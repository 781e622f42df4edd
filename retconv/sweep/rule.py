"""Decision rules: what a study's runs must show, written down before they run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retconv.names import nearest
from retconv.stats import MIN_SEEDS
from retconv.train.config import option
from retconv.train.parsing import build

#: Where the whole interval must lie for a claim to hold: above a threshold, below it, or within ± of it.
EXPECTATIONS = ("above", "below", "within")


@dataclass(frozen=True)
class Rule:
    """A claim about runs, and how their numbers decide it.

    Each seed gives one value: the metric of ``arm``, less that of ``against`` with the same seed, less the same
    difference at ``versus``. A value of several rows, such as layers, is their mean. The claim is supported if the
    whole interval of the mean over seeds lies where ``expect`` says, refuted if all of it lies elsewhere, and undecided
    otherwise (see ``retconv.studies.decide``).

    Example:
        >>> retconv.sweep.load_study("cifar_small").rules[0].claim
        'The logarithm of a learnable Manhattan decay, added to the logits, is worth 0.7 points.'
    """

    claim: str = option("", "what is claimed, a sentence")
    arm: str = option("", "arm that it is about")
    against: str = option("", "arm that it is compared with, seed by seed; without, the arm is taken by itself")
    table: str = option("", "table of the study's that holds the metric; by default that of its runs")
    metric: str = option("test_accuracy", "column of the metric; accuracies are in per cent")
    at: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "values of other columns at which the metric is read"}
    )
    versus: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "as at: there the same difference is taken, and subtracted"}
    )
    expect: str = option("above", "where the claim says the value lies", choices=EXPECTATIONS)
    threshold: float = option(0.0, "of it, in the metric's unit, hence percentage points")


def parse_rules(
    values: Any,
    arms: Mapping[str, Any],
    name: str,
    mask_tables: Any,
    seeds: Any,
    grid: Mapping[str, Any],
    faults: list[str],
) -> tuple[Rule, ...]:
    """The rules of a study file.

    Args:
        values: As read from YAML.
        arms: The study's.
        name: The study's, which names the table of its runs.
        mask_tables: What the names of its other tables begin with.
        seeds: The study's.
        grid: The study's, at values of which a rule may read.
        faults: To which a line is added for each fault.
    """
    if not isinstance(values, list):
        faults.append(f"rules must be a list of rules, got {values!r}")
        return ()
    rules = []
    for i, value in enumerate(values):
        filled = {"table": f"study_{name}", **value} if isinstance(value, Mapping) else value
        rule = build(Rule, filled, f"rules.{i}.", faults)
        if isinstance(rule, Rule):
            rules.append(rule)
            if not rule.claim:
                faults.append(f"rules.{i}.claim must say what is claimed")
            for key in ("arm", "against"):
                arm = getattr(rule, key)
                if isinstance(arm, str) and arm not in arms and (arm or key == "arm"):
                    faults.append(
                        f"rules.{i}.{key} {arm!r} is no arm of the study; {nearest(str(arm), sorted(map(str, arms)))}"
                    )
            if isinstance(rule.threshold, float) and (fault := threshold_fault(rule.expect, rule.threshold)):
                faults.append(f"rules.{i}.{fault}")
            own = f"study_{name}" + f", or begins with {mask_tables}_" * bool(mask_tables)
            if rule.table != f"study_{name}" and not (mask_tables and rule.table.startswith(f"{mask_tables}_")):
                faults.append(f"rules.{i}.table {rule.table!r} is no table of the study's: it is {own}")
            for key in ("at", "versus"):
                faults += [f"rules.{i}.{key}.{fault}" for fault in _absent(getattr(rule, key), grid)]
    if rules and isinstance(seeds, list) and len({*map(str, seeds)}) < MIN_SEEDS:
        faults.append(f"rules are decided by at least {MIN_SEEDS} seeds, and grid.seed is {seeds}")
    return tuple(rules)


def threshold_fault(expect: str, threshold: float) -> str:
    """Why nothing could lie where a claim expects it, if so."""
    if not math.isfinite(threshold):
        return f"threshold must be a finite number, got {threshold!r}"
    if expect == "within" and threshold <= 0:
        return f"threshold must be positive with expect: within, which is ± of it, got {threshold!r}"
    return ""


def _absent(point: Any, grid: Mapping[str, Any]) -> list[str]:
    """What of a point is no value of the grid's, in whose tables no row would be found."""
    values = {column_of(key): each for key, each in grid.items() if isinstance(each, list)}
    return [
        f"{column} is {value!r}, which the study does not vary it over: {values[column]}"
        for column, value in (point.items() if isinstance(point, Mapping) else ())
        if column in values and value not in values[column]
    ]


def column_of(key: str) -> str:
    """The column of an option in tables: the last part of its key; of ``data.name`` it is ``data``.

    Example:
        >>> column_of("augment.cutmix"), column_of("optim.name")
        ('cutmix', 'optim')
    """
    owner, _, last = key.rpartition(".")
    return owner if last == "name" else last
