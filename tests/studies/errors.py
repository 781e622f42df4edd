"""Errors of studies and of what they need; ``test_errors`` raises each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd
import timm
import torch

from retconv.measure.observe import replaced
from retconv.models import add_masks
from retconv.models.temperature import add_temperature
from retconv.studies import build_tables, decide, load_tables, verdicts, write_tables
from retconv.studies.__main__ import main
from retconv.sweep import load_study, parse_study
from retconv.train import TrainError
from tests.error_table import Error


def command(*arguments: str) -> Callable[[], object]:
    """The command line, its exception not yet turned into an exit code."""
    return lambda: main.main(list(arguments), standalone_mode=False)


def replacing_attention_with_a_class_token() -> None:
    size = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 1, "num_heads": 1}
    model = timm.create_model("retconv_vit_tiny", pooling="token", **size)
    add_masks(model, "gmm")
    with replaced(model, {"blocks.0.attn": torch.ones(1, 7, 7)}, "convolution"):
        pass


def measuring_without_runs() -> None:
    with tempfile.TemporaryDirectory() as folder:
        build_tables(load_study("main", small=True), Path(folder))


def command_without_runs() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command("main", "--small", "--root", folder, "--out", folder)()


def command_named_as_the_packages_own() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "main.yaml"
        file.write_text("{recipe: smoke, arms: {plain: {}}, grid: {seed: [0, 1, 2]}}", encoding="utf-8")
        command(str(file), "--root", folder)()


def replacing_full_runs() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for scale in ("full", "small"):
            write_tables({"study_toy": pd.DataFrame({"run": ["a"], "scale": [scale]})}, folder)


def replacing_another_study() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for study in ("toy", "other"):
            write_tables({"study_elm": pd.DataFrame({"study": [study], "run": ["a"], "scale": ["small"]})}, folder)


def fewer_runs() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for runs in (["a", "b"], ["a"]):
            write_tables({"study_toy": pd.DataFrame({"study": "toy", "run": runs, "scale": "full"})}, folder)


def verdicts_below_a_file() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").touch()
        command("--out", f"{folder}/file/below")()


def reading(metric: str) -> None:
    rule = {"claim": "So.", "arm": "a", "metric": metric}
    study = parse_study(
        {"recipe": "smoke", "arms": {"a": {}}, "grid": {"seed": [0, 1, 2]}, "rules": [rule]}, name="toy"
    )
    with tempfile.TemporaryDirectory() as folder:
        table = pd.DataFrame({"arm": ["a"], "seed": [0], "test_accuracy": [90.0], "run": ["r"], "scale": ["full"]})
        write_tables({"study_toy": table}, folder)
        verdicts(folder, [study])


def faulty() -> None:
    parse_study(
        {
            "name": "mine",
            "arms": {"plain": {}, "gmm": 1},
            "small": {"recipe": "small", "arm": {}, "arms": {"gmn": 2}},
            "rules": [
                {"arm": "plian", "against": "gmn", "expect": "beyond", "metrics": "loss"},
                1,
                {"claim": "So.", "arm": "plain", "table": "study_main", "at": {"lr": 0.3}},
            ],
            "grid": {"seed": [0, 0, 1], "optim.lr": [0.1, 0.2]},
        },
        name="mine",
    )


TABLES: dict[str, dict[str, Error]] = {
    "studies": {
        "faults": (
            faulty,
            ValueError,
            "(?s)"
            "no option name: it follows.*"
            "arms.gmm must be a mapping of options, got 1.*"
            "no option small.arm; did you mean 'arms'.*"
            "small.arms.gmn is no arm of the study; did you mean 'gmm'.*"
            "small.arms.gmn must be a mapping of options, got 2.*"
            "no option rules.0.metrics; did you mean 'metric'.*"
            "rules.0.expect cannot be 'beyond'.*"
            "rules.0.claim must say what is claimed.*"
            "rules.0.arm 'plian' is no arm of the study; did you mean 'plain'.*"
            "rules.0.against 'gmn'.*"
            "rules.1 must be a mapping.*"
            "rules.2.table 'study_main' is no table of the study's: it is study_mine.*"
            "rules.2.at.lr is 0.3, which the study does not vary it over: .0.1, 0.2.*"
            "rules are decided by at least 3 seeds, and grid.seed is .0, 0, 1.",
        ),
        "small for full": (replacing_full_runs, TrainError, "study_toy.csv holds full-scale runs.*another folder"),
        "fewer runs for more": (
            fewer_runs,
            TrainError,
            r"study_toy\.csv holds 1 runs more, as b, which must not be lost: merge them",
        ),
        "one study for another": (
            replacing_another_study,
            TrainError,
            "study_elm.csv holds runs of study toy, which another study must not replace.*other mask_tables",
        ),
        "rules that are no list": (
            lambda: parse_study({"rules": {"claim": "So."}}),
            ValueError,
            "rules must be a list of rules, got {'claim': 'So.'}",
        ),
        "no twin": (
            lambda: parse_study({"recipe": "smoke"}, small=True),
            ValueError,
            "it has no small twin: small names none",
        ),
        "twice the same arm": (
            lambda: parse_study({"recipe": "smoke", "arms": {"one": {}, "other": {"seed": 0}}}),
            ValueError,
            "arms 'one' and 'other' are the same run: change or remove one",
        ),
        "tables that nothing finds": (
            lambda: parse_study({"recipe": "smoke", "mask_tables": "mine"}, name="mine"),
            ValueError,
            "mask_tables must begin with study, such as study_mine, got 'mine'",
        ),
        "no such study": (
            lambda: load_study("mian"),
            ValueError,
            "no study file mian, nor a study of that name; did you mean 'main'",
        ),
        "a rule that reads no column": (
            lambda: reading("test_acuracy"),
            ValueError,
            "the rule 'So.' reads 'test_acuracy', no column of study_toy: did you mean 'test_accuracy'",
        ),
        "a metric of text": (
            lambda: reading("run"),
            ValueError,
            "the rule 'So.' reads 'run' of study_toy, which holds no numbers",
        ),
        "nothing within it": (
            lambda: decide([0.1, 0.2, 0.3], "within", -1.0),
            ValueError,
            "threshold must be positive with expect: within, which is ± of it, got -1.0",
        ),
        "expectation": (
            lambda: decide([1.0, 2.0, 3.0], "beyond"),
            ValueError,
            "unknown expectation 'beyond': choose from above, below, within",
        ),
        "a kernel for a class token": (
            replacing_attention_with_a_class_token,
            ValueError,
            "blocks.0.attn has prefix tokens.*mean pooling",
        ),
        "a folder that is missing": (
            lambda: load_tables("no/such"),
            TrainError,
            "no folder no/such, .*retconv studies STUDY --out no/such, or name none",
        ),
        "runs that are missing": (
            measuring_without_runs,
            RuntimeError,
            "60 of the 60 runs of study main are not finished.*retconv sweep main --small",
        ),
        "command without runs": (command_without_runs, click.ClickException, "60 of the 60 runs of study main"),
        "command named as a study of the package": (
            command_named_as_the_packages_own,
            click.ClickException,
            "main.yaml is named as a study of the package.*rename it, or give --out",
        ),
        "command into a folder that cannot be": (
            verdicts_below_a_file,
            click.ClickException,
            "cannot write .*/file/below",
        ),
        "command without such a study": (command("mian"), click.ClickException, "did you mean 'main'"),
        "rules of no such study": (command("mian", "--rules"), click.ClickException, "did you mean 'main'"),
        "temperature without attention": (
            lambda: add_temperature(torch.nn.Linear(2, 2)),
            ValueError,
            "Linear has no attention of timm's ViT.*qk_norm=False",
        ),
    }
}
