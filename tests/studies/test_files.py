"""The studies of the package: every file parses, says beforehand what decides it, and every arm of it trains."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from math import prod

import pytest
import torch
from click.testing import CliRunner
from scipy.stats import t

from retconv.data import Dataset
from retconv.data.registry import SPECS
from retconv.sweep import STUDIES, Study, parse_study
from retconv.sweep import load_study as load_anew
from retconv.sweep.__main__ import main
from retconv.sweep.rule import column_of
from retconv.train import Config, Trainer
from retconv.train.config import DataConfig, ScheduleConfig, differences
from tests.train.small import few_digits

#: Studies on CIFAR-10, which share runs; and those at full scale, whose small twins have five seeds.
FIVE = ("controls", "data_size", "main", "models", "placement")
PAIRED = (*FIVE, "short", "tiny_imagenet")
#: Seeds of each, so that its rules can be decided; what each can decide stands in its file.
SEEDS = {"controls": 16, "data_size": 8, "main": 16, "models": 8, "placement": 16, "short": 8, "tiny_imagenet": 8}
FOLDER = resources.files("retconv.sweep") / "studies"
WORDS = {3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 11: "eleven", 16: "sixteen"}
#: Studies of eight seeds for two cores, which share runs.
SMALL = ("cifar_small", "cifar_small_controls", "cifar_small_cutmix", "cifar_small_data")
#: Columns that rules may read, by the end of their table's name, and of the table of runs; besides those of its grid.
MEASURED = {
    "elm": {"convolution", "learnt", "last"},
    "kernel_swap": {"change", "kind", "k", "layer"},
    "grid_transfer": {"change", "factor"},
    "distance": {"distance", "least_distance", "layer"},
}
RUNS = {"test_accuracy"}
#: Studies are constants: each is read once.
load_study = cache(load_anew)


def test_the_studies_are_those_of_the_package() -> None:
    assert set(STUDIES) == {*PAIRED, *SMALL, "digits"}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_beforehand_what_decides_it(name: str) -> None:
    study = load_study(name)
    assert study.hypothesis.endswith(".")
    assert study.rules
    assert all(rule.claim.endswith(".") for rule in study.rules)
    for rule in study.rules:
        own = rule.table == f"study_{name}"
        assert own or rule.table.startswith(f"{study.mask_tables}_")
        varied = {column_of(key) for key in study.grid}
        readable = RUNS if own else MEASURED[rule.table.removeprefix(f"{study.mask_tables}_")]
        assert {rule.metric, *rule.at, *rule.versus} <= readable | varied


@pytest.mark.parametrize("name", PAIRED)
def test_arms_are_distinct_and_paired_by_seeds(name: str) -> None:
    """Also those of the small twin, which has the same arms."""
    whole, twin = load_study(name), load_study(name, small=True)
    assert set(whole.arm_of.values()) == set(twin.arm_of.values()) == set(whole.arms)
    assert (whole.scale, twin.scale) == ("full", "small")
    for study, seeds in ((whole, SEEDS[name]), (twin, 5)):
        units = replace(study, stack=0).units()
        assert all(sorted(c.seed for c in unit) == list(range(seeds)) for unit in units)
        points = {key: values for key, values in study.grid.items() if key != "seed"}
        assert len(units) == len(study.arms) * prod(map(len, points.values()))
    assert not {c.id for c in whole.configs} & {c.id for c in twin.configs}


@pytest.mark.parametrize("name", SEEDS)
def test_what_its_seeds_decide_is_said_truly(name: str) -> None:
    """The half-width of an interval, in units of the spread, at Bonferroni's level for the rules on accuracy."""
    study, text = load_study(name), " ".join((FOLDER / f"{name}.yaml").read_text(encoding="utf-8").split("\n# "))
    rules = sum(rule.table == f"study_{name}" for rule in study.rules)
    n = SEEDS[name]
    half = t.ppf(1 - study.alpha / rules / 2, n - 1) / n**0.5
    assert f"{WORDS[n]} seeds decide: with {WORDS[rules]} rules" in text
    assert f"the half-width of an interval is {half:.2f} times the spread" in text


@pytest.mark.parametrize("name", PAIRED)
def test_pooling_is_held_equal(name: str) -> None:
    """Except in arms that are about it."""
    study = load_study(name)
    tokens = {study.arm_of[c.id] for c in study.configs if c.model.options["pooling"] != "avg"}
    assert tokens == {"controls": {"token"}, "models": {"vit_reference_token"}}.get(name, set())


def test_what_two_studies_share_is_one_run() -> None:
    runs = {
        name: {s.arm_of[c.id]: c.id for c in s.configs if c.data.fraction == 1 and c.seed == 0}
        for name, s in studies().items()
    }
    plain = [runs[name][arm] for name, arm in (*((n, "plain") for n in FIVE if n != "models"), ("models", "vit_plain"))]
    masked = [runs["main"]["gmm_5"], runs["controls"]["gmm"], runs["data_size"]["gmm"], runs["models"]["vit_gmm"]]
    assert len(set(plain)) == len(set(masked)) == 1
    assert runs["main"]["manhattan_learnt"] == runs["data_size"]["manhattan_learnt"]


@pytest.mark.parametrize("name", ["short", "main", "tiny_imagenet"])
def test_three_arms_go_first_and_the_first_seeds_of_all_three(name: str) -> None:
    """What a GPU trains first: plain attention, five Gaussians, an added decay; paired wherever its time ends."""
    study = load_study(name)
    first = [arm for arm in ("plain", "gmm", "gmm_5", "manhattan_bias") if arm in study.arms]
    each = len(study.grid.get("augment.cutmix", [1]))
    order = [(study.arm_of[unit[0].id], unit[0].seed) for unit in study.units()]
    assert order[: 6 * each] == [(arm, seed) for seed in (0, study.stack) for _ in range(each) for arm in first]
    assert {arm for arm, _ in order[3 * each * SEEDS[name] // study.stack :]} == {*study.arms} - {*first}


def test_short_differs_from_the_main_study_in_length_and_cutmix_alone() -> None:
    main, short = load_study("main"), load_study("short")
    assert short.hypothesis.startswith("Short")
    assert all(rule.claim.startswith("Short") for rule in short.rules)
    whole = {arm: config.as_dict() for config in main.configs if config.seed == 0 for arm in [main.arm_of[config.id]]}
    for config in short.configs:
        arm = short.arm_of[config.id]
        changed = differences(whole["gmm_5" if arm == "gmm" else arm], replace(config, seed=0).as_dict())
        cut = ["augment.cutmix: 1.0 against 0.0"] * (config.augment.cutmix == 0)
        assert changed == [*cut, "schedule.epochs: 100 against 30", "schedule.warmup_epochs: 10 against 3"]


def test_without_cutmix_mixup_stays_as_the_recipe_has_it() -> None:
    study = load_study("controls")
    runs = {study.arm_of[c.id]: c.as_dict() for c in study.configs if c.seed == 0}
    for arm in ("plain", "gmm"):
        assert differences(runs[arm], runs[f"{arm}_no_cutmix"]) == ["augment.cutmix: 1.0 against 0.0"]
    first = load_study("main")
    added = next(c.as_dict() for c in first.configs if first.arm_of[c.id] == "manhattan_bias")
    assert differences(added, runs["bias_no_cutmix"]) == ["augment.cutmix: 1.0 against 0.0"]


def test_the_reference_recipe_selects_nothing_and_the_others_on_validation() -> None:
    study = load_study("models")
    for config in study.configs:
        reference = study.arm_of[config.id].startswith("vit_reference")
        assert (config.select, config.data.validation) == (("last", 0.0) if reference else ("best", 0.1))
        assert config.augment.repeats == (3 if reference else 1)


def test_tiny_imagenet_asks_what_the_main_study_asks() -> None:
    """The same arms, of which it leaves some out; the same thresholds; and the same kinds of tables, by other names."""
    first, second = load_study("main"), load_study("tiny_imagenet")
    assert second.arms.items() <= first.arms.items()
    twin = load_study("tiny_imagenet", small=True)
    assert {c.data.name for c in (*second.configs, *twin.configs)} == {"tiny-imagenet-32"}
    shared = {rule.claim: asdict(rule) | {"table": ""} for rule in first.rules}
    own = [rule.claim for rule in second.rules if shared.get(rule.claim) != asdict(rule) | {"table": ""}]
    assert [claim.split(" that ")[0] for claim in own] == [
        "At least half of the gain of 2.38 points",
        "A Manhattan decay",
    ]


@pytest.mark.parametrize("name", SMALL)
def test_studies_for_two_cores_pair_eight_seeds_and_measure_every_run(name: str) -> None:
    study = load_study(name)
    assert study.grid["seed"] == list(range(8))
    assert study.mask_tables == f"study_{name}"
    assert (study.engine, study.workers, study.stack) == ("loky", 2, 1)
    assert all(rule.threshold for rule in study.rules)


def test_studies_for_two_cores_share_their_runs() -> None:
    """152 in all, each arm of a study being that of another wherever they are the same run."""
    runs = {name: {(c.id, study.arm_of[c.id]) for c in study.configs} for name, study in small_studies().items()}
    assert len({run for both in runs.values() for run in both}) == len({i for r in runs.values() for i, _ in r}) == 152


def small_studies() -> dict[str, Study]:
    return {name: load_study(name) for name in SMALL}


def studies() -> dict[str, Study]:
    return {name: load_study(name) for name in PAIRED}


def distinct(small: bool) -> dict[str, list[Config]]:
    """The steps of every arm of every study, each once and of two seeds at most: which ones changes nothing of it."""
    found: dict[str, list[Config]] = {}
    for name in (*PAIRED, *SMALL):
        study = load_study(name, small)
        for unit in study.units():
            two = [one_step(config, seed) for seed, config in enumerate(unit[:2])]
            if two not in found.values():
                found[f"{name}/{study.arm_of[unit[0].id]}"] = two
    return found


def one_step(config: Config, seed: int) -> Config:
    """On few images, none of them held out."""
    data, schedule = DataConfig(config.data.name, validation=0.0), ScheduleConfig(epochs=1, warmup_epochs=0)
    return replace(config, seed=seed, batch_size=8, select="last", data=data, schedule=schedule)


SMALL_TWINS = distinct(small=True)


@pytest.mark.parametrize("configs", SMALL_TWINS.values(), ids=SMALL_TWINS.keys())
def test_every_arm_of_a_small_twin_takes_a_step(configs: list[Config]) -> None:
    name = configs[0].data.name
    takes_a_step(configs, few_digits() if name == "digits" else noise(name))


FULL = distinct(small=False)


@pytest.mark.parametrize("configs", FULL.values(), ids=FULL.keys())
def test_every_arm_in_full_takes_a_step(configs: list[Config]) -> None:
    """In its own precision, on two random images of its data's shape: what a GPU will be given does run.

    Of a plain ViT's blocks, which are alike, two.
    """
    model = configs[0].model
    if model.name == "retconv_vit_tiny":
        model = replace(model, options={**model.options, "depth": 2})
    takes_a_step([replace(c, batch_size=2, model=model) for c in configs], noise(configs[0].data.name))


@cache
def noise(name: str) -> Dataset:
    """400 random images of a data set's size and number of classes."""
    size, classes = SPECS[name].size, SPECS[name].classes
    images = torch.randint(0, 256, (400, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels, names, centre = torch.arange(400) % classes, tuple(map(str, range(classes))), (0.5, 0.5, 0.5)
    return Dataset(name, images, labels, images, labels, names, centre, centre, flip=True, source="random")


def takes_a_step(configs: list[Config], data: Dataset) -> None:
    trainer = Trainer(configs, data)
    before = [p.detach().clone() for p in trainer.replicas.parameters()]
    trainer.step()
    trainer.require_finite(None)
    assert torch.isfinite(trainer.tally.loss).all()
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.replicas.parameters(), strict=True))


def test_list_without_a_study_lists_the_studies() -> None:
    output = CliRunner().invoke(main, ["--list"]).output
    assert all(
        f"{study.name:<20}{len(study.configs):>5} runs  {study.hypothesis}" in output for study in studies().values()
    )


def test_list_names_the_arms_of_a_twin(tmp_path) -> None:
    output = CliRunner().invoke(main, ["main", "--small", "--list", "--root", str(tmp_path)]).output
    assert "missing   gmm_5  " in output
    assert "0 of 60 runs finished" in output


def test_the_small_twin_puts_its_options_before_those_of_the_arm() -> None:
    """What stands in for a recipe must not undo what an arm is about."""
    study = {
        "recipe": "smoke",
        "set": {"optim.lr": 1e-2},
        "arms": {"one": {"optim.weight_decay": 0.5}, "other": {}},
        "small": {"recipe": "small", "arms": {"one": {"optim.lr": 1.0, "optim.weight_decay": 1.0, "batch_size": 4}}},
    }
    one, other = parse_study(study, small=True).configs
    assert (one.optim.lr, one.optim.weight_decay, one.batch_size) == (1e-2, 0.5, 4)
    assert (other.optim.lr, other.optim.weight_decay, other.batch_size) == (1e-2, 0.05, 32)
