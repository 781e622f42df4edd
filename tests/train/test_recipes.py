"""Recipes: what they say, how strictly they are read, and what a mistake in one is answered with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from retconv.train import RECIPES, Config, RecipeError, RunFolder, load, parse
from retconv.train.__main__ import main
from retconv.train.config import differences, flatten
from tests.train.small import BASE, tiny


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_of_the_package_is_right(recipe: str) -> None:
    config = load(recipe)
    assert parse(config.as_dict()) == config
    assert parse(yaml.safe_load(yaml.safe_dump(config.as_dict()))) == config


def test_reference_is_the_papers() -> None:
    """DESIGN.md section 5: 300 passes, decay on everything, and its optimiser's numbers."""
    config = load("reference")
    assert config.schedule.epochs * config.augment.repeats == 300
    assert config.optim.decay_all
    assert (config.optim.name, config.optim.lr, config.optim.weight_decay) == ("adamw", 1e-3, 0.05)
    assert (config.batch_size, config.schedule.warmup_epochs, config.smoothing) == (128, 10, 0.1)
    assert (config.augment.policy, config.augment.mix_probability, config.augment.erase) == ("autoaugment", 0.5, 0.25)
    assert config.model.options["drop_path_rate"] == 0.1


def test_standard_is_100_epochs_without_decay_on_masks() -> None:
    config = load("standard")
    assert (config.schedule.epochs, config.augment.repeats, config.optim.decay_all) == (100, 1, False)


def test_the_hash_is_of_the_values_not_of_how_they_were_written() -> None:
    written = parse({"optim": {"lr": 1}, "seed": 3})
    assert written == parse(yaml.safe_load("seed: 3\noptim: {lr: 1.0e+0}"))
    assert written.id == parse({"seed": 3, "optim": {"lr": 1.0}}).id
    assert len({tiny(seed=seed).id for seed in range(5)}) == 5


def test_every_option_changes_the_hash() -> None:
    """No option can be left out of a run's name."""
    base = Config().as_dict()
    for key, value in flatten(base).items():
        changed = {"model.options": {"a": 1}, "augment.flip": True}.get(key, (value, "changed"))
        nested = Config().as_dict()
        level = nested
        *parents, last = key.split(".")
        for parent in parents:
            level = level[parent]
        level[last] = changed
        kinds = {f.name: f for f in dataclasses.fields(Config)}
        parts = {
            n: type(getattr(Config(), n))(**v) if n not in ("seed",) and isinstance(v, dict) else v
            for n, v in nested.items()
        }
        assert kinds.keys() == parts.keys()
        assert Config(**parts).id != Config().id, key


def test_all_faults_are_reported_at_once_with_the_nearest_right_word() -> None:
    wrong = {
        "sede": 1,
        "lr": 2,
        "smoothing": 2,
        "optim": {"lrr": 1, "name": "adamww"},
        "schedule": [1],
        "augment": {"flip": "yes", "crop": True},
        "model": {"name": "vit_tinny_patch16_224", "options": 3},
        "data": {"name": "cifar11", "validation": float("nan")},
    }
    with pytest.raises(RecipeError) as caught:
        parse(wrong)
    faults = str(caught.value)
    for text in (
        "12 faults",
        "no option sede; did you mean 'seed'?",
        "no option lr; did you mean 'optim.lr'?",
        "smoothing must be from 0 to 0.99, got 2",
        "no option optim.lrr; did you mean 'lr'?",
        "optim.name cannot be 'adamww'; did you mean 'adamw'?",
        "schedule must be a mapping of options, got [1]",
        "augment.flip must be bool | null, got 'yes'",
        "augment.crop must be int, got True",
        "'vit_tinny_patch16_224' is not known to timm; did you mean 'vit_tiny_patch16_224'?",
        "model.options must be a mapping, got 3",
        "data.name 'cifar11' is no data set; did you mean 'cifar10'?",
        "data.validation must be from 0 to 0.9, got nan",
    ):
        assert text in faults


def test_differences_name_the_option_and_both_values() -> None:
    one, other = parse({"optim": {"lr": 1}}).as_dict(), parse({"seed": 1}).as_dict()
    assert differences(one, other) == ["optim.lr: 1.0 against 0.001", "seed: 0 against 1"]


def test_help_teaches_and_options_explain_every_option() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    assert "goes on from the last checkpoint" in " ".join(text.split())
    assert "torchrun" in text
    explained = CliRunner().invoke(main, ["--options"]).output
    assert all(key in explained for key in flatten(Config().as_dict()))


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--recpie", "smoke"], "--recipe"),
        (["--recipe", "smok"], "did you mean 'smoke'?"),
        (["--recipe", "smoke", "--set", "optim.lrr=1"], "did you mean 'lr'?"),
        (["--recipe", "smoke", "--set", "seed"], "KEY=VALUE"),
        ([], "which recipe?"),
    ],
)
def test_a_mistake_is_answered_with_what_was_meant(arguments: list[str], answer: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert answer in result.output


def test_show_prints_a_recipe_that_can_be_trained(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["--recipe", "smoke", "--set", "optim.lr=5e-4", "--show"]).output
    file = tmp_path / "mine.yaml"
    file.write_text(shown, encoding="utf-8")
    assert load(file) == load("smoke", ["optim.lr=5e-4"])


def test_command_trains_stores_and_does_not_repeat(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(BASE | {"schedule": {"epochs": 1, "warmup_epochs": 0}}), encoding="utf-8")
    arguments = ["--recipe", str(recipe), "--root", str(tmp_path), "--device", "cpu", "--tensorboard"]
    first = CliRunner().invoke(main, arguments)
    assert first.exit_code == 0, first.output
    run = RunFolder(tmp_path, load(recipe))
    assert f"test accuracy {run.result()['test_accuracy']:.2%} of 360 images" in first.output
    assert CliRunner().invoke(main, arguments).output == first.output
    assert len(run.provenance()) == 1
    assert len(list((run.path / "tensorboard").glob("events.*"))) == 1
