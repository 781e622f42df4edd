"""A study: a hypothesis, a recipe, what varies, the rules that decide, and how the runs are shared out."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from operator import itemgetter
from pathlib import Path
from typing import Any

from retconv.names import nearest, yaml_names
from retconv.sweep.engines import Plan
from retconv.sweep.rule import Rule, column_of, parse_rules
from retconv.train import Config, RecipeError, parse
from retconv.train.config import option
from retconv.train.parsing import build, mapping, override, read

_FOLDER = resources.files("retconv.sweep") / "studies"
#: The studies of the package, by name.
STUDIES = yaml_names(_FOLDER)


@dataclass(frozen=True)
class Study(Plan):
    """Which runs, what they are to decide, and over which engine.

    Recipe, set, arms and grid say which runs there are; all else only what is asked of them, and where they train.
    Options of a run are taken from the recipe, then from ``set``, its arm, and its point of the grid, each going before
    what is to its left.

    Attributes:
        name: The study's, from its file.
        configs: The runs: every arm at every combination of the grid.
        arm_of: The arm of each run, by the run's name.
        scale: ``"full"``, or ``"small"`` for the small twin.

    Example:
        >>> study = retconv.sweep.load_study("cifar_small")
        >>> list(study.arms)[:3]
        ['plain', 'manhattan_bias', 'gmm']
    """

    hypothesis: str = option("", "what the study is to decide, a sentence")
    recipe: str = option("standard", "recipe that all runs start from: a name, or a YAML file beside the study")
    set: Mapping[str, Any] = field(default_factory=dict, metadata={"help": "options of all runs, by dotted key"})
    arms: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"help": "what is compared: options by dotted key for each name; recipe: names another recipe"},
    )
    grid: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "options that vary: lists by dotted key, of which all combinations run"}
    )
    small: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"help": "the small twin (--small): its recipe, its grid, and by arm options instead of its recipe's"},
    )
    alpha: float = option(
        0.05, "probability of error, shared equally by the rules that read one table", low=1e-6, high=0.5
    )
    mask_tables: str = option(
        "", "what the names of tables of its masks and attention begin with, such as study; empty: not measured"
    )
    stack: int = option(0, "seeds of one configuration that train as one stacked model; 0: all, 1: each alone", low=0)
    priority: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "arms to be trained first, a list in order: stack seeds of each, then the next; the others after"
        },
    )
    retries: int = option(2, "rounds without any newly finished run before giving up", low=0)
    rules: tuple[Rule, ...] = field(
        default=(), metadata={"help": "what decides its claims, a list; written before any of its runs"}
    )
    name: str = ""
    configs: tuple[Config, ...] = ()
    arm_of: Mapping[str, str] = field(default_factory=dict)
    scale: str = "full"

    def units(self) -> list[list[Config]]:
        """What one worker is given at a time: up to ``stack`` seeds of one configuration; by the arms' priority.

        Of the arms of ``priority``, the first seeds of all come before the next seeds of any, and at one setting of the
        grid before the next: wherever time ends, they can be compared seed by seed.
        """
        alike: dict[str, list[Config]] = {}
        for config in self.configs:
            alike.setdefault(replace(config, seed=0).id, []).append(config)
        ranks = {arm: rank for rank, arm in enumerate(self.priority)}
        units: list[tuple[tuple[int, int, int], list[Config]]] = []
        settings: Counter[str] = Counter()  # of the grid, of each arm so far
        for seeds in alike.values():
            arm = self.arm_of[seeds[0].id]
            size, rank, setting = self.stack or len(seeds), ranks.get(arm), settings[arm]
            settings[arm] += 1
            for i in range(0, len(seeds), size):
                place = (i, setting, rank) if rank is not None else (len(self.configs), 0, 0)
                units.append((place, seeds[i : i + size]))
        return [unit for _, unit in sorted(units, key=itemgetter(0))]


def load_study(study: str | Path, small: bool = False) -> Study:
    """Read a study of the package by its name (``STUDIES``), or a study file by its path.

    Args:
        study: Name or path.
        small: Take its small twin, which has the same arms and rules.

    Raises:
        RecipeError: If it cannot be read, has no small twin, or with a line for each fault in it or in its runs.

    Example:
        >>> load_study("cifar_small").hypothesis[:40]
        'After a short training on CIFAR-10 a mas'
    """
    if str(study) in STUDIES:
        values = mapping(_FOLDER / f"{study}.yaml", f"study {study}")
        return parse_study(values, name=str(study), small=small)
    path = Path(study)
    if not path.is_file():
        raise RecipeError(
            f"no study file {path}, nor a study of that name; {nearest(str(study), STUDIES)}: give a name or the path "
            "of a YAML file; --help shows one"
        )
    return parse_study(mapping(path, f"study {path}"), path.parent, path.stem, small)


def parse_study(values: Mapping[str, Any], folder: Path = Path(), name: str = "study", small: bool = False) -> Study:
    """A study from nested dictionaries, and the configurations of its runs.

    Args:
        values: As read from YAML.
        folder: Where a recipe that is a file stands.
        name: The study's.
        small: Take its small twin.

    Raises:
        RecipeError: With a line for each fault.

    Example:
        >>> study = parse_study({"recipe": "smoke", "arms": {"plain": {}}, "grid": {"seed": [0, 1, 2]}})
        >>> len(study.configs)
        3
    """
    derived = ("name", "configs", "arm_of", "scale")
    faults = [f"no option {key}: it follows from the others" for key in derived if key in values]
    study = build(Study, {k: v for k, v in values.items() if k not in (*derived, "rules", "priority")}, "", faults)
    arms, twin = _or_empty(study.arms), _or_empty(study.small) if small else {}
    grid = {**_or_empty(study.grid), **_or_empty(twin.get("grid"))}
    if odd := _unquoted(study, grid):  # all else asks for texts
        raise _refusal(faults + odd)
    faults += _grid_faults(grid)
    faults += [f"arms.{arm} must be a mapping of options, got {v!r}" for arm, v in arms.items() if type(v) is not dict]
    faults += _twin_faults(_or_empty(study.small), arms)
    priority = values.get("priority", [])
    if not isinstance(priority, list):
        faults.append(f"priority must be a list of arms, got {priority!r}")
    else:
        faults += [
            f"priority: {arm!r} is no arm of the study; {nearest(str(arm), sorted(arms))}"
            for arm in priority
            if arm not in [*arms]
        ]
    # Tables are found by this beginning of their names.
    if study.mask_tables and not str(study.mask_tables).startswith("study"):
        faults.append(f"mask_tables must begin with study, such as study_{name}, got {study.mask_tables!r}")
    if name == "verdicts":
        faults.append("no study can be named verdicts: study_verdicts is the table of the verdicts of all")
    if small and not twin:
        faults.append("it has no small twin: small names none")
    seeds = grid.get("seed", [0])
    rules = parse_rules(values.get("rules", []), arms, name, study.mask_tables, seeds, _or_empty(study.grid), faults)
    if faults:
        raise _refusal(faults)
    configs: dict[str, Config] = {}
    arm_of: dict[str, str] = {}
    for arm, config in _runs(study, grid, twin, folder):
        if arm_of.setdefault(config.id, arm) != arm:
            raise RecipeError(f"arms {arm_of[config.id]!r} and {arm!r} are the same run: change or remove one")
        configs[config.id] = config
    return replace(
        study,
        name=name,
        grid=grid,
        priority=tuple(priority),
        rules=rules,
        configs=tuple(configs.values()),
        arm_of=arm_of,
        scale="small" if small else "full",
    )


def _runs(study: Study, grid: Mapping[str, Any], twin: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Config]]:
    """Arm and configuration of every run; ``twin`` is empty for the full study."""
    for arm, options in (study.arms or {"": {}}).items():
        standing_in = _or_empty(twin.get("arms")).get(arm, {})
        recipe = _recipe(standing_in, twin, options, {"recipe": study.recipe}, folder=folder)
        base = override(override(override(recipe, _options(standing_in)), study.set), _options(options))
        for combination in itertools.product(*grid.values()):
            point = dict(zip(grid, combination, strict=True))
            named = ({"arm": arm} if arm else {}) | point
            where = ", ".join(f"{key}={value}" for key, value in named.items()) or "its one run"
            yield arm, parse(override(base, point), f"the study at {where}")


def _recipe(*sources: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The first recipe that one of the sources names, read."""
    recipe = next(source["recipe"] for source in sources if "recipe" in source)
    return read(folder / recipe if (folder / recipe).is_file() else recipe)


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "recipe"}


def _grid_faults(grid: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with what is varied."""
    columns: dict[str, str] = {}
    for key, values in grid.items():
        if (other := columns.setdefault(column_of(key), key)) != key:
            yield f"grid.{other} and grid.{key} are both column {column_of(key)!r} of tables: make one an arm"
        if not values or type(values) is not list:
            yield f"grid.{key} must be a list of values, got {values!r}"
            continue
        for i, value in enumerate(values):
            if isinstance(value, Mapping):
                yield f"grid.{key} varies {value!r}: vary an option in it, or make each an arm"
            if key != "seed" and value in values[:i]:
                yield f"grid.{key} holds {value!r} twice"


def _twin_faults(twin: Mapping[str, Any], arms: Mapping[str, Any]) -> list[str]:
    known = ("recipe", "grid", "arms")
    faults = [f"no option small.{key}; {nearest(str(key), sorted(known))}" for key in twin if key not in known]
    for arm, options in _or_empty(twin.get("arms")).items():
        if arm not in arms:
            faults.append(f"small.arms.{arm} is no arm of the study; {nearest(str(arm), sorted(arms))}")
        if not isinstance(options, Mapping):
            faults.append(f"small.arms.{arm} must be a mapping of options, got {options!r}")
    return faults


def _refusal(faults: Sequence[str]) -> RecipeError:
    return RecipeError("the study cannot be used:\n" + "\n".join(f"  {fault}" for fault in faults))


def _unquoted(study: Study, grid: Mapping[Any, Any]) -> list[str]:
    """Names that YAML reads as numbers or truth values."""
    arms = _or_empty(study.arms)
    owners = {"arms.": arms, "set.": _or_empty(study.set), "grid.": grid}
    owners |= {f"arms.{arm}.": _or_empty(options) for arm, options in arms.items()}
    return [
        f"{owner}{key} is a name that YAML reads as {key!r}: quote it"
        for owner, names in owners.items()
        for key in names
        if not isinstance(key, str)
    ]


def _or_empty(value: Any) -> Mapping[str, Any]:
    """A value that should be a mapping, or an empty one: what is wrong with it is a fault elsewhere."""
    return value if isinstance(value, Mapping) else {}
