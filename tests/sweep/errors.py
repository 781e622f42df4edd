"""Errors of studies; ``test_errors`` raises each."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import click
import yaml

from retconv.sweep import load_study, parse_study
from retconv.sweep.__main__ import main
from tests.error_table import Error
from tests.train.errors import diverging


def command(*arguments: str) -> Callable[[], object]:
    """The command line, its exception not yet turned into an exit code."""
    return lambda: main.main(list(arguments), standalone_mode=False)


def study_that_diverges() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "base.yaml").write_text(yaml.safe_dump(diverging.as_dict()), encoding="utf-8")
        file = folder / "study.yaml"
        file.write_text("{recipe: base.yaml, engine: serial, retries: 0}", encoding="utf-8")
        command(str(file), "--root", str(folder / "runs"))()


def sweep_without_joblib() -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(sys.modules, {"joblib": None}):
        command("digits", "--engine", "loky", "--root", folder)()


TABLES: dict[str, dict[str, Error]] = {
    "sweep": {
        "no file": (lambda: load_study("no.yaml"), ValueError, "no study file no.yaml"),
        "faults": (
            lambda: parse_study({"engin": "loky", "grid": {"seed": 1}, "workers": 0}),
            ValueError,
            "(?s)no option engin; did you mean .engine.*workers must be at least 1.*grid.seed must be a list of values",
        ),
        "a mapping in the grid": (
            lambda: parse_study({"recipe": "smoke", "grid": {"augment": [{"cutmix": 1.0}]}}),
            ValueError,
            r"grid.augment varies {'cutmix': 1.0}: vary an option in it, or make each an arm",
        ),
        "two columns of one name": (
            lambda: parse_study({"recipe": "smoke", "grid": {"optim.weight_decay": [0.0], "x.weight_decay": [1.0]}}),
            ValueError,
            "grid.optim.weight_decay and grid.x.weight_decay are both column 'weight_decay' of tables",
        ),
        "a value twice": (
            lambda: parse_study({"recipe": "smoke", "grid": {"data.fraction": [0.5, 1.0, 0.5]}}),
            ValueError,
            "grid.data.fraction holds 0.5 twice",
        ),
        "names that are none": (
            lambda: parse_study(
                {
                    "recipe": "smoke",
                    "arms": {1: {"optim.lr": 0.1}, "off": {False: 1}},
                    "set": {2: 1},
                    "grid": {"seed": [0, 1, 2], 3: [1]},
                }
            ),
            ValueError,
            "(?s)arms.1 is a name that YAML reads as 1: quote it.*set.2 .*grid.3 .*arms.off.False .* reads as False",
        ),
        "an arm that is a list": (
            lambda: parse_study({"arms": {"a": {}}, "rules": [{"claim": "So.", "arm": ["a"]}]}),
            ValueError,
            r"rules\.0\.arm must be str, got \['a'\]",
        ),
        "nothing within it": (
            lambda: parse_study({"arms": {"a": {}}, "rules": [{"claim": "So.", "arm": "a", "expect": "within"}]}),
            ValueError,
            r"rules\.0\.threshold must be positive with expect: within, which is ± of it, got 0\.0",
        ),
        "beyond every number": (
            lambda: parse_study({"arms": {"a": {}}, "rules": [{"claim": "So.", "arm": "a", "threshold": math.nan}]}),
            ValueError,
            r"rules\.0\.threshold must be a finite number, got nan",
        ),
        "named as a table": (
            lambda: parse_study({"recipe": "smoke"}, name="verdicts"),
            ValueError,
            "no study can be named verdicts",
        ),
        "priority": (
            lambda: parse_study({"recipe": "smoke", "arms": {"plain": {}}, "priority": ["plane"]}),
            ValueError,
            "priority: 'plane' is no arm of the study; did you mean 'plain'",
        ),
        "priority of a list": (
            lambda: parse_study({"recipe": "smoke", "arms": {"plain": {}}, "priority": [["plain"]]}),
            ValueError,
            r"priority: \['plain'\] is no arm of the study",
        ),
        "priority that is no list": (
            lambda: parse_study({"recipe": "smoke", "priority": "plain"}),
            ValueError,
            "priority must be a list of arms, got 'plain'",
        ),
        "stack": (
            lambda: parse_study({"recipe": "smoke", "stack": -1}),
            ValueError,
            "stack must be at least 0, got -1",
        ),
        "engine that is not installed": (sweep_without_joblib, click.ClickException, "engine loky needs joblib"),
        "command without study": (command(), click.ClickException, "which study"),
        "command with a wrong study": (command("no.yaml"), click.ClickException, "no study file no.yaml"),
        "command with a failing run": (study_that_diverges, click.ClickException, "is not finite at step 2"),
        "a run of it": (
            lambda: parse_study({"recipe": "smoke", "grid": {"sede": [1]}}),
            ValueError,
            "the study at sede=1 has 1 fault:\n  no option sede; did you mean 'seed'",
        ),
    }
}
