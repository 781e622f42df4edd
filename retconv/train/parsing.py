"""Reading recipes strictly: every fault is found, named with the nearest right word, and reported with the others."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_type_hints

from retconv.data import NAMES
from retconv.model_names import SMALL_MODELS
from retconv.names import nearest
from retconv.plain_yaml import DEPTH, YamlError, load_file, load_text
from retconv.train.config import RECIPES, RECIPES_FOLDER, Config, flatten

#: Arguments of a model that the data give.
FROM_DATA = ("img_size", "in_chans", "num_classes")


class RecipeError(ValueError):
    """A recipe cannot be used; the message lists all of its faults.

    Example:
        >>> try:
        ...     retconv.train.parse({"batch_sise": 64})
        ... except RecipeError as error:
        ...     print(error)
        recipe has 1 fault:
          no option batch_sise; did you mean 'batch_size'?
    """


def parse(values: Mapping[str, Any], source: str = "recipe") -> Config:
    """A configuration from nested dictionaries, defaults filled in.

    Args:
        values: As read from YAML; all keys must be known and all values of the right kind and range.
        source: What the faults are said to be in.

    Raises:
        RecipeError: With a line for each fault.

    Example:
        >>> parse({"seed": 3, "data": {"name": "digits"}}).seed
        3
    """
    faults: list[str] = []
    config = build(Config, values, "", faults)
    faults += _unknown_names(values) if isinstance(values, Mapping) else []
    if not faults:
        faults += _conflicts(config)
    if faults:
        count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
        raise RecipeError(f"{source} has {count}:\n" + "\n".join(f"  {fault}" for fault in faults))
    assert isinstance(config, Config)
    return config


def load(recipe: str | Path, settings: Sequence[str] = ()) -> Config:
    """A configuration from a recipe, with some options set otherwise.

    Args:
        recipe: The name of a recipe of the package (``RECIPES``), or the path of a YAML file.
        settings: Lines ``optim.lr=3e-4``; values are read as YAML.

    Raises:
        RecipeError: If there is no such recipe, or with a line for each fault in it.

    Example:
        >>> load("smoke", ["batch_size=64", "seed=3"]).batch_size
        64
    """
    return parse(override(read(recipe), settings), f"recipe {str(recipe)!r}")


def read(recipe: str | Path) -> dict[str, Any]:
    """The nested dictionaries of a recipe, by its name or path.

    Raises:
        RecipeError: If there is none, or it is no YAML mapping.
    """
    if str(recipe) in RECIPES:
        return mapping(RECIPES_FOLDER / f"{recipe}.yaml", f"recipe {str(recipe)!r}")
    if not Path(recipe).is_file():
        raise RecipeError(f"no recipe or YAML file {str(recipe)!r}; {nearest(str(recipe), RECIPES)}")
    return mapping(Path(recipe), f"recipe {str(recipe)!r}")


def mapping(file: Path | Traversable, source: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        RecipeError: If it cannot be read, is not valid YAML, or no mapping.
    """
    try:
        values = load_file(file, source)
    except (OSError, YamlError) as error:
        raise RecipeError(str(error)) from error
    if not isinstance(values, dict):
        raise RecipeError(f"{source} must be a mapping of options, got {values!r}")
    return values


def override(values: Mapping[str, Any], settings: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """A copy with some options set, given as lines ``optim.lr=3e-4`` or a mapping by dotted key.

    Raises:
        RecipeError: If a line has no ``=``, its value is not valid YAML, or it would replace a whole section.
    """
    result = _copy(values)
    if not isinstance(settings, Mapping):
        lines = [line.partition("=") for line in settings]
        wrong = [key for key, equals, _ in lines if not equals]
        if wrong:
            raise RecipeError(f"settings are KEY=VALUE, such as optim.lr=3e-4; got {', '.join(map(repr, wrong))}")
        settings = {key: _scalar(value, key) for key, _, value in lines}
    for key, value in settings.items():
        *parents, last = key.split(".")
        if len(parents) > DEPTH:
            raise RecipeError(f"no option {key[:40]}…: it is {len(parents)} deep, and options are at most {DEPTH}")
        level = result
        for parent in parents:
            if not isinstance(level.get(parent), dict):
                level[parent] = {}
            level = level[parent]
        if key in _SECTIONS and isinstance(value, Mapping):
            raise RecipeError(
                f"{key} has options of its own: set each by its key, such as {key}.{next(iter(value), '…')}"
            )
        level[last] = value
    return result


#: Options that hold others, which a mapping would replace as a whole.
_SECTIONS = tuple(f.name for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.default_factory))


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _scalar(text: str, key: str) -> Any:
    """YAML 1.1 reads ``1e-3`` as a string; a number is meant."""
    try:
        value = load_text(text, "the value")
    except YamlError as error:
        raise RecipeError(f"{key}={text}: {error}; a text is quoted, such as {key}='…'") from error
    return _number(value) if isinstance(value, str) else value


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


#: They cost more than all else of reading a recipe.
_type_hints = cache(get_type_hints)


def build(kind: type, values: Any, prefix: str, faults: list[str]) -> Any:
    """A dataclass of ``option`` fields from a mapping, strictly.

    Args:
        kind: The dataclass.
        values: As read from YAML.
        prefix: Of its keys where it is part of another one, such as ``"optim."``.
        faults: To which a line is added for each fault; the result is of use only if there is none.
    """
    if not isinstance(values, Mapping):
        faults.append(f"{prefix.rstrip('.') or 'it'} must be a mapping of options, got {values!r}")
        return None
    fields = {f.name: f for f in dataclasses.fields(kind)}
    odd = [key for key in values if key not in fields]
    every = flatten(Config().as_dict()) if odd and kind is Config else {}
    for key in odd:
        elsewhere = [name for name in every if name.rpartition(".")[2] == key]
        remedy = f"did you mean {elsewhere[0]!r}?" if elsewhere else nearest(str(key), sorted(fields))
        faults.append(f"no option {prefix}{key}; {remedy}")
    hints = _type_hints(kind)
    parsed = {}
    for name in [name for name in fields if name in values]:
        if dataclasses.is_dataclass(hints[name]):
            parsed[name] = build(hints[name], values[name], f"{prefix}{name}.", faults)
        else:
            parsed[name] = _check(fields[name], values[name], prefix + name, faults)
    return kind(**parsed)


def _check(option: dataclasses.Field[Any], value: Any, key: str, faults: list[str]) -> Any:
    """A value of the kind that an option's type names, in its range or among its choices."""
    kind = str(option.type)
    if kind == "float" and isinstance(value, str):
        value = _number(value)
    classes: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "str": (str,),
        "bool": (bool,),
        "bool | None": (bool, type(None)),
    }
    allowed = classes.get(kind, (Mapping,))
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        name = "a mapping" if kind.startswith("Mapping") else kind.replace("None", "null")
        faults.append(f"{key} must be {name}, got {value!r}")
        return value
    low, high, choices = (option.metadata.get(name) for name in ("low", "high", "choices"))
    if choices and isinstance(value, str) and value not in choices:
        faults.append(f"{key} cannot be {value!r}; {nearest(value, sorted(choices))}")
    # Written so that NaN is out of range.
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        faults.append(f"{key} must be {_range(low, high)}, got {value!r}")
    if isinstance(value, Mapping):
        try:
            text = json.dumps(value, sort_keys=True)  # of which the run's name is made
            constants: list[str] = []
            json.loads(text, parse_constant=constants.append)
            if "NaN" in constants:  # which is not equal to itself, so that no run would be its own
                faults.append(f"{key} must hold no NaN, got {value!r}")
        except TypeError as error:
            faults.append(f"{key} must hold numbers, text, true, false, null, lists and mappings of them: {error}")
        return _copy(value)
    return float(value) if kind == "float" else value


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"from {low} to {high}"


def _unknown_names(values: Mapping[str, Any]) -> list[str]:
    """Names of data sets and models that nobody knows, also where other faults are."""
    flat = flatten(values)
    model, data = flat.get("model.name"), flat.get("data.name")
    faults = []
    # timm takes longer to import than a study to read, and its list is long to make.
    if isinstance(model, str) and model not in SMALL_MODELS:
        known = importlib.import_module("timm").list_models()
        if model not in known:
            faults.append(f"model.name {model!r} is not known to timm; {nearest(model, (*SMALL_MODELS, *known))}")
    if isinstance(data, str) and data not in NAMES:
        faults.append(f"data.name {data!r} is no data set; {nearest(data, NAMES)}")
    return faults


def _conflicts(config: Config) -> list[str]:
    """Faults that only several options together show."""
    faults = []
    if config.select == "best" and not config.data.validation:
        faults.append("select: best needs validation images: set data.validation above 0")
    if config.schedule.warmup_epochs >= config.schedule.epochs:
        faults.append(
            f"schedule.warmup_epochs {config.schedule.warmup_epochs} must be below schedule.epochs "
            f"{config.schedule.epochs}"
        )
    if config.optim.decay_all and config.optim.decay_masks:
        faults.append("optim.decay_all decays masks too: leave out optim.decay_masks, or set optim.decay_all: false")
    if (config.augment.mixup or config.augment.cutmix) and config.batch_size % 2:
        faults.append(f"Mixup and CutMix pair images: batch_size must be even, got {config.batch_size}")
    faults += [
        f"model.options.{key} comes from the data: leave it out" for key in FROM_DATA if key in config.model.options
    ]
    return faults
