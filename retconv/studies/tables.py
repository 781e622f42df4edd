"""The tables of a study, from its stored runs, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pandas as pd
import torch

from retconv.data import load
from retconv.measure.rows import Row
from retconv.results import Store
from retconv.stored import TABLES, read_runs
from retconv.studies.outcome import outcome_row
from retconv.studies.rows import StudyRun
from retconv.sweep import Study
from retconv.train import RunFolder, TrainError
from retconv.train.files import make_folder, write_whole


def build_tables(
    study: Study,
    root: str | Path = "runs",
    *,
    device: torch.device | str = "cpu",
    partial: bool = False,
    report: Callable[[str], object] | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables of a study's finished runs, without training any further.

    Every study has a table of its runs, ``study_<name>``. Where its ``mask_tables`` is a text, tables whose names begin
    with it come besides: what was measured on each run, by ``retconv.measure``, and is measured now on runs that have
    their weights and were not.

    Args:
        study: The study.
        root: Folder of its runs.
        device: Where to measure what was not yet.
        partial: Go on with the runs that there are; otherwise all must be finished.
        report: Is given a line for each run.

    Returns:
        Tidy tables by name, those without rows left out. Accuracies are in per cent, losses in nats.

    Raises:
        TrainError: If runs are missing and ``partial`` is not set, none is finished, or one was merged without weights
            and measures.
    """
    missing = {config.id for config in Store(root).missing(study.configs)}
    if len(missing) == len(study.configs) or (missing and not partial):
        raise TrainError(
            f"{len(missing)} of the {len(study.configs)} runs of study {study.name} are not finished in {root}: train "
            f"them with retconv sweep {study.name}{' --small' * (study.scale == 'small')}"
        )
    runs = f"study_{study.name}"
    rows: dict[str, list[Row]] = {runs: []}
    data = cache(lambda name: load(name).to(device))
    for config in study.configs:
        if config.id in missing:
            continue
        run = StudyRun(study, study.arm_of[config.id], RunFolder(root, config), data)
        rows[runs].append(outcome_row(run))
        if study.mask_tables:
            for name, more in run.measured_rows().items():
                rows.setdefault(f"{study.mask_tables}_{name}", []).extend(more)
        if report is not None:
            report(f"{run.arm} seed {run.seed}")
    return {name: pd.DataFrame(entries) for name, entries in rows.items() if entries}


def write_tables(tables: Mapping[str, pd.DataFrame], folder: str | Path = TABLES) -> None:
    """Write tables as CSV files, each whole or not at all; without a folder, to where figures read them.

    Raises:
        TrainError: If small tables would replace full ones, runs would be lost, those of one study would replace
            another's, the disk is full, or the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> write_tables({"study_mine": pd.DataFrame({"arm": ["plain"]})}, folder)
        >>> [path.name for path in Path(folder).iterdir()]
        ['study_mine.csv']
    """
    make_folder(Path(folder))
    stored = load_tables(folder)
    for name, table in tables.items():
        before = stored.get(name, pd.DataFrame())
        if "full" in _values(before, "scale") - _values(table, "scale"):
            raise TrainError(
                f"{Path(folder) / name}.csv holds full-scale runs, which a small study must not replace: give another "
                "folder with --out"
            )
        more, runs = _values(before, "run"), _values(table, "run")
        if lost := more - runs:
            raise TrainError(
                f"{Path(folder) / name}.csv holds {len(lost)} runs more, as {min(lost)}, which must not be lost: merge "
                "them into the folder of runs first, give another folder with --out, or remove that file"
            )
        # A table without runs, that of the verdicts, is of all studies.
        others = _values(before, "study") - _values(table, "study") if "run" in table else set()
        if others:
            raise TrainError(
                f"{Path(folder) / name}.csv holds runs of study {', '.join(sorted(others))}, which another study must "
                "not replace: give another folder with --out, or the study other mask_tables"
            )
    for name, table in tables.items():
        content = table.to_csv(index=False, float_format="%.7g").encode()
        write_whole(Path(folder) / f"{name}.csv", content)


def _values(table: pd.DataFrame, column: str) -> set[str]:
    return set(table.get(column, ()))


def load_tables(folder: str | Path = TABLES) -> dict[str, pd.DataFrame]:
    """The tables that stand in a folder, by name; without one, those that come with the package.

    Raises:
        TrainError: If there is no such folder.

    Example:
        >>> load_tables()["study_cifar_small_distance"]["run"].nunique() > 1
        True
    """
    if not Path(folder).is_dir():
        raise TrainError(
            f"no folder {folder}, from which the tables of studies are to be read: make them with retconv studies "
            f"STUDY --out {folder}, or name none for those of the package"
        )
    return {path.stem: read_runs(path) for path in sorted(Path(folder).glob("study_*.csv"))}
