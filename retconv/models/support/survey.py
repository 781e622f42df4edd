"""The table of support: each model is built small, masked, and asked by experiment."""

from __future__ import annotations

import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from retconv.models.checking.checking import check_masks
from retconv.models.checking.report import QUESTIONS
from retconv.models.inputs import call, evaluating
from retconv.models.places import FeatureMap, OwnInput, release
from retconv.models.search import UnsupportedModelError, find_places
from retconv.models.support.case import LIBRARIES, Case
from retconv.models.support.other_models import TORCHVISION, TRANSFORMERS
from retconv.models.support.reasons import OTHER, summary
from retconv.models.support.timm_models import TIMM
from retconv.models.watch import Watch
from retconv.names import nearest
from retconv.provenance import provenance

CASES: tuple[Case, ...] = (*TIMM, *TRANSFORMERS, *TORCHVISION)
#: Columns that a row has, without its provenance.
COLUMNS = ("library", "model", "size", "attention", "masked", "pooled", "grids", *QUESTIONS, "reason", "seconds")
#: Columns that are the same each time.
STEADY = COLUMNS[:-1]


def cases(libraries: Sequence[str] = LIBRARIES, only: str = "") -> list[Case]:
    """The models of some libraries, or those whose names match a pattern.

    Raises:
        ValueError: If no name matches.
    """
    chosen = [case for case in CASES if case.library in libraries and fnmatchcase(case.model, only or "*")]
    if not chosen:
        raise ValueError(f"no model is called {only!r}: {nearest(only, [case.model for case in CASES])}")
    return chosen


def survey(chosen: Iterable[Case], each: Callable[[pd.DataFrame], object] = lambda rows: None) -> pd.DataFrame:
    """Try models one after the other, with a progress bar where a terminal shows it.

    Args:
        chosen: The models.
        each: Called after each model with the rows so far, so that a run that is broken off has not been for nothing.

    Returns:
        A row for each: ``COLUMNS``, and where it comes from: the command that repeats it, commit, versions of torch,
        Python and the library.
        ``attention`` counts modules that attend, ``masked`` those that take a mask, ``pooled`` those that
        ``pooled=True`` masks as well; ``grids`` are theirs; the experiments have their verdicts; ``reason`` says of
        what kind the rest is; ``seconds`` is the time of all.
    """
    session = provenance()
    origin = {key: session[key] for key in ("commit", "torch", "python")}
    rows = []
    bar = tqdm(list(chosen), disable=None, unit="model")
    for case in bar:
        bar.set_description(case.model)
        command = f"retconv models --support --library {case.library} --only {case.model}"
        rows.append({**row(case), "command": command, **origin, "version": metadata.version(case.library)})
        each(pd.DataFrame(rows))
    return pd.DataFrame(rows)


def row(case: Case) -> dict[str, Any]:
    """Try one model."""
    start = time.perf_counter()
    model, example = case.build()
    attention = _attending(model, example)
    place_names, grids, reasons = _places(model, example, case.grid)
    pooled = _pooled(model, example, case.grid) - len(place_names) if attention else 0
    verdicts: dict[str, Any] = dict.fromkeys(QUESTIONS, "")
    if place_names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                verdicts.update(check_masks(model, example, grid=case.grid).verdicts)
        except Exception as error:  # an error of the model, or of ours: the table says so
            reasons.append(f"{OTHER} {type(error).__name__}: {error}")
    missing = max(0, attention - len(place_names) - len(reasons)) if attention else 0
    values = (
        case.library, case.model, "×".join(map(str, case.shape[1:])), attention, len(place_names), pooled, grids,
        *verdicts.values(), summary(reasons, missing, bool(place_names)), round(time.perf_counter() - start, 1),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """New rows in the places of old ones, in the order of ``CASES``."""
    order = {(case.library, case.model): i for i, case in enumerate(CASES)}
    rows = pd.concat([old, new]).drop_duplicates(["library", "model"], keep="last")
    places = [order.get(key, len(order)) for key in zip(rows["library"], rows["model"], strict=True)]
    return rows.iloc[sorted(range(len(rows)), key=places.__getitem__)].reset_index(drop=True)


def read(path: Path) -> pd.DataFrame:
    """A stored table; what a row lacks is empty."""
    return pd.read_csv(path, keep_default_na=False)


def _attending(model: nn.Module, example: Tensor) -> int:
    """How many modules attend."""
    watch = Watch(model)
    with torch.no_grad(), evaluating(model), watch.hooks(), watch:
        call(model, example)
    followed: list[FeatureMap | OwnInput] = [*watch.sources.values(), *watch.inputs]
    for source in followed:
        source.release()
    return len(watch.seen)


def _places(model: nn.Module, example: Tensor, grid: tuple[int, ...] | None) -> tuple[list[str], str, list[str]]:
    """Names and grids of the attention that takes a mask, and reasons of what does not, as far as they are given."""
    try:
        places, refused = find_places(model, example, grid=grid)
    except UnsupportedModelError as error:
        text = str(error).partition(". retconv looks for")[0]
        return [], "", re.split(r"; (?=')", text)[1:] or [text]
    except Exception as error:  # an error of the model, or of ours: the table says so
        return [], "", [f"{OTHER} {type(error).__name__}: {error}"]
    grids = Counter(_text(place.grid()) for place in places)
    release(places)
    texts = [f"{count} × {grid}" if count > 1 else grid for grid, count in grids.items()]
    return [place.name for place in places], ", ".join(texts), list(refused.values())


def _pooled(model: nn.Module, example: Tensor, grid: tuple[int, ...] | None) -> int:
    """How many places there are with those whose keys are pooled."""
    try:
        places, _ = find_places(model, example, grid=grid, pooled=True)
    except ValueError:
        return 0
    release(places)
    return len(places)


def _text(grid: Any) -> str:
    shape = "×".join(map(str, grid.shape))
    return f"{shape}+{grid.prefix}" if grid.prefix else shape
