"""Accuracy of a trained model as more and more of its heads become convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from retconv.data import load as load_data
from retconv.heads import convolve
from retconv.measure.model import Trained
from retconv.measure.rows import Row, plain
from retconv.models.surgery import masked_modules
from retconv.stored import read_runs
from retconv.train import RunFolder, TrainError
from retconv.train.parsing import load as load_config

#: How heads are ordered: by the error of their output, smallest first, or at random.
ORDERS = ("error", "random")
#: Images that kernels and errors are of, and images that accuracy is of, at most.
MEASURED, TESTED = 512, 1000


def convolved_table(runs: Iterable[Path]) -> pd.DataFrame:
    """The rows of ``convolved_rows`` of finished runs, with arm, seed and name of each.

    Args:
        runs: Their folders, with weights; each belongs to a model without a class token.

    Raises:
        RecipeError: If a folder has no configuration.
        TrainError: If a run is not finished, has no weights, or a folder of another name.
        DataNotFoundError: If its data are nowhere.
    """
    rows: list[Row] = []
    for path in (folder.resolve() for folder in runs):
        config = load_config(path / "config.yaml")
        if path.name != config.id:
            raise TrainError(f"{path} holds run {config.id}: give the folder that name, by which a run is known")
        data = load_data(config.data.name, download=False)
        trained = Trained.load(RunFolder(path.parent, config), data)
        names = {"arm": arm_of(config.model.options), "seed": config.seed, "run": path.name}
        test = data.test_images, data.test_labels
        rows += [names | row | {"data": config.data.name} for row in convolved_rows(trained, test, config.seed)]
    return pd.DataFrame(rows)


def arm_of(options: Mapping[str, Any]) -> str:
    """What a run's masks are, as studies call it, by its model's options, such as ``manhattan_bias``, ``gmm_local``."""
    mask, placement = options.get("mask") or "plain", options.get("placement", "multiply_logits")
    start = dict(options.get("mask_options") or {}).get("start")
    bias = {"multiply_logits": "", "bias_logits": "_bias"}.get(placement, f"_{placement}")
    return mask + (bias + "_local" * (start == "local")) * (mask != "plain")


def merged(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A table with the rows of other runs that a file holds, if there is one, in the order of arm and seed."""
    stored = read_runs(path) if path.is_file() else table.iloc[:0]
    both = pd.concat([stored[~stored["run"].isin(table["run"])], table]) if len(stored) else table
    return both.sort_values(["arm", "seed", "order", "heads"], kind="stable").reset_index(drop=True)


def spaced(rows: Tensor, count: int) -> Tensor:
    """At most so many rows, as far apart as they can be: data sets may be stored class by class."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).round().long()]


def convolved_rows(trained: Trained, test: tuple[Tensor, Tensor], seed: int, steps: int = 12) -> list[Row]:
    """Accuracy with the first k heads of each order convolved, without any training.

    Kernels and errors are of the model's own images, accuracy is of test images.

    Args:
        trained: Of a model without prefix tokens.
        test: uint8 test images and their labels.
        seed: Of the random order.
        steps: Numbers of heads, from none to all, that are tried.

    Returns:
        A row for each order and number of heads: ``heads``, ``of``, ``accuracy`` in per cent, ``change`` in points
        against no head, ``error`` the largest of the convolved heads, ``logits`` the relative change of the answers on
        the model's own images.
    """
    model, images = trained.model, trained.normalise(spaced(trained.images, MEASURED))
    probe = convolve(model, images=images, tolerance=float("inf"), rounds=0)
    modules: dict[str, Any] = dict(masked_modules(model))
    kernels = {name: modules[name].convolved.table().detach().clone() for name in probe.error}
    probe.remove()
    errors = {(name, h): float(e) for name, error in probe.error.items() for h, e in enumerate(error)}
    ascending = sorted(errors, key=lambda head: errors[head])
    shuffle = torch.randperm(len(errors), generator=torch.Generator().manual_seed(seed)).tolist()
    orders = {"error": ascending, "random": [ascending[i] for i in shuffle]}
    on_test = replace(trained, images=spaced(test[0], TESTED), labels=spaced(test[1], TESTED))
    before = on_test.evaluate()[1]
    counts = sorted({round(i * len(errors) / steps) for i in range(steps + 1)})
    rows: list[Row] = []
    for order in ORDERS:
        for count in counts:
            first = orders[order][:count]
            heads = {name: [h for n, h in first if n == name] for name in kernels}
            report = convolve(model, kernels, images, heads=heads, rounds=0) if first else None
            accuracy = on_test.evaluate()[1] if first else before
            row = {"order": order, "heads": count, "of": len(errors), "accuracy": accuracy, "change": accuracy - before}
            row |= {"error": max((errors[head] for head in first), default=0.0)}
            row |= {"logits": report.logits if report else 0.0, "measured": len(images), "tested": len(on_test.labels)}
            rows.append(plain(row))
            if report:
                report.remove()
    return rows
