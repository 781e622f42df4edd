"""A study: a recipe, what varies, and how the runs are shared out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retconv.sweep.engines import Plan
from retconv.train import Config, RecipeError, parse
from retconv.train.config import option
from retconv.train.parse import build, mapping, override, read


@dataclass(frozen=True)
class Study(Plan):
    """Which runs, and over which engine.

    Recipe, set and grid say which runs there are; all else only where and how they are trained.

    Attributes:
        configs: The runs: every combination of the grid.
    """

    recipe: str = option("standard", "recipe that all runs start from: a name, or a YAML file beside the study")
    set: Mapping[str, Any] = field(default_factory=dict, metadata={"help": "options of all runs, by dotted key"})
    grid: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "options that vary: lists by dotted key, of which all combinations run"}
    )
    replicas: bool = option(True, "train seeds of one configuration as one stacked model")
    retries: int = option(2, "rounds without any newly finished run before giving up", low=0)
    configs: tuple[Config, ...] = ()

    def units(self) -> list[list[Config]]:
        """What one worker is given at a time: one run, or the seeds of one configuration."""
        if not self.replicas:
            return [[config] for config in self.configs]
        stacks: dict[str, list[Config]] = {}
        for config in self.configs:
            stacks.setdefault(replace(config, seed=0).id, []).append(config)
        return list(stacks.values())


def load_study(path: str | Path) -> Study:
    """Read a study file.

    Raises:
        RecipeError: If it cannot be read, or with a line for each fault in it or in its runs.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"no study file {path}: give the path of a YAML file; --help shows one")
    return parse_study(mapping(path.read_text(encoding="utf-8"), f"study {path}"), path.parent)


def parse_study(values: Mapping[str, Any], folder: Path = Path()) -> Study:
    """A study from nested dictionaries, and the configurations of its runs.

    Args:
        values: As read from YAML.
        folder: Where a recipe that is a file stands.

    Raises:
        RecipeError: With a line for each fault.
    """
    faults: list[str] = ["no option configs: runs follow from recipe, set and grid"] if "configs" in values else []
    study = build(Study, {k: v for k, v in values.items() if k != "configs"}, "", faults)
    wrong = [key for key, v in _mapping(study.grid).items() if not isinstance(v, list) or not v]
    faults += [f"grid.{key} must be a list of values, got {study.grid[key]!r}" for key in wrong]
    if faults:
        raise RecipeError("the study cannot be used:\n" + "\n".join(f"  {fault}" for fault in faults))
    recipe = folder / study.recipe
    base = override(read(recipe if recipe.is_file() else study.recipe), study.set)
    keys = list(study.grid)
    configs = {}
    for combination in itertools.product(*study.grid.values()):
        point = dict(zip(keys, combination, strict=True))
        where = ", ".join(f"{key}={value}" for key, value in point.items()) or "its one run"
        config = parse(override(base, point), f"the study at {where}")
        configs[config.id] = config
    return replace(study, configs=tuple(configs.values()))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
