"""The studies' main results in Markdown, ours beside the published ones: all of them, and those of the README."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from retconv.stats import MIN_SEEDS, compare
from retconv.stored import TABLES
from retconv.studies.published import PUBLISHED_TOP1
from retconv.studies.rulings import interval_text, largest_scale
from retconv.studies.tables import load_tables


class _Row(NamedTuple):
    """What is said of an arm, and what it is compared with."""

    study: str
    arm: str
    against: str
    text: str
    #: Its published counterpart on CIFAR-10.
    model: str = ""
    at: Mapping[str, Any] = {}
    #: Whether the README has it too.
    short: bool = False


_ROWS = (
    _Row("cifar_small", "gmm", "plain", "Gaussian mixture, K = 5, × logits: the published mask", "vit", short=True),
    _Row("cifar_small", "gmm_local", "plain", "the same, started local", short=True),
    _Row("cifar_small", "elm", "plain", "element-wise mask × logits"),
    _Row("cifar_small", "table", "plain", "kernel table × logits", short=True),
    _Row("cifar_small", "manhattan_bias", "plain", "learnt Manhattan decay, logarithm + logits", short=True),
    _Row("cifar_small_controls", "manhattan", "plain", "learnt Manhattan decay × logits"),
    _Row("cifar_small_controls", "gaussian_bias", "plain", "one Gaussian, logarithm + logits"),
    _Row("cifar_small_controls", "retnet", "plain", "RetNet's γ, fixed, two-sided on the line × logits"),
    _Row("cifar_small_controls", "temperature", "plain", "no mask: a learnable temperature"),
    _Row("cifar_small_controls", "lsa", "plain", "no mask: temperature and masked diagonal (LSA)"),
    _Row("cifar_small_controls", "plain", "token", "no mask: class token → mean pooling", short=True),
    _Row("cifar_small_controls", "convolution", "plain", "kernel table alone, no attention"),
    _Row("cifar_small_data", "manhattan_bias", "plain", "learnt decay, a tenth of the images", at={"fraction": 0.1}),
    _Row(
        *("cifar_small_data", "gmm_local", "plain", "local mixture, a tenth of the images"),
        at={"fraction": 0.1},
        short=True,
    ),
    _Row("cifar_small_cutmix", "manhattan_bias", "plain", "learnt decay, with CutMix", at={"cutmix": 1.0}, short=True),
    _Row("cifar_small_cutmix", "gmm", "plain", "mixture, with CutMix", at={"cutmix": 1.0}),
    _Row("models", "vit_reference_gmm", "vit_reference_token", "ViT as published: class token → mask, mean", "vit"),
    _Row("models", "vit_reference_gmm", "vit_reference_plain", "ViT, the same, mean pooling in both"),
    _Row("models", "vit_gmm", "vit_plain", "ViT, mixture"),
    _Row("models", "swin_gmm", "swin_plain", "Swin, mixture", "swin"),
    _Row("models", "cait_gmm", "cait_plain", "CaiT, mixture", "cait"),
    _Row("models", "pit_gmm", "pit_plain", "PiT, mixture", "pit"),
    _Row("models", "t2t_gmm", "t2t_plain", "T2T, mixture", "t2t"),
)
_SETS = {"cifar10": "CIFAR-10 (JPEG)", "tiny-imagenet-32": "Tiny-ImageNet, 32 px"}
_HEAD = (
    "in front of the softmax",
    "published gain",
    "without → with (%)",
    "difference, 95 % interval (points)",
    "on held-out images",
    "seeds",
    "data, passes",
)


def results_table(folder: str | Path = TABLES) -> str:
    """Means over seeds, without and with, and their paired difference with its t interval, from stored tables.

    The same difference on the images that were held out of training says how much of it is the choice of test images,
    which no interval over seeds covers. Intervals are of 95 % each, not adjusted for their number as those of the
    verdicts are. Rows that have fewer than three pairs of runs stored are left out.

    Example:
        >>> results_table().splitlines()[0].split(" | ")[3]
        'difference, 95 % interval (points)'
    """
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    for row, runs in _stored(folder):
        comparison = compare(runs, "test_accuracy", row.against).iloc[0]
        held_out = runs["validation_accuracy"].notna().all()
        published = "{1:.2f} − {0:.2f}".format(*PUBLISHED_TOP1[row.model, "cifar10"]) if row.model else "–"
        # Of fewer images an epoch keeps its number of steps.
        passes = runs["epochs"].max() / row.at.get("fraction", 1.0)
        data = f"{_SETS.get(runs['data'].iloc[0], runs['data'].iloc[0])}, {passes:.0f}"
        lines.append(
            _line(
                [
                    row.text,
                    published,
                    " → ".join(f"{round(comparison[name], 9):.2f}" for name in ("mean_reference", "mean")),
                    interval_text(comparison),
                    interval_text(compare(runs, "validation_accuracy", row.against).iloc[0]) if held_out else "–",
                    str(comparison["n"]),
                    data,
                ]
            )
        )
    return "\n".join(lines)


def readme_table(folder: str | Path = TABLES) -> str:
    """The five results of the README, as in :func:`results_table`: published gain, ours, seeds.

    Example:
        >>> readme_table().splitlines()[0]
        '| points of accuracy | published | here, 95 % interval | seeds |'
    """
    lines = ["| points of accuracy | published | here, 95 % interval | seeds |", _line(["---"] * 4)]
    for row, runs in _stored(folder):
        if row.short:
            plain, masked = PUBLISHED_TOP1[row.model, "cifar10"] if row.model else (math.nan, math.nan)
            published = f"{masked - plain:+.2f}" if row.model else "–"
            comparison = compare(runs, "test_accuracy", row.against).iloc[0]
            lines.append(_line([row.text, published, interval_text(comparison), str(comparison["n"])]))
    return "\n".join(lines)


def _stored(folder: str | Path) -> Iterator[tuple[_Row, pd.DataFrame]]:
    """The rows that have enough pairs of runs, with these."""
    tables = load_tables(folder)
    for row in _ROWS:
        runs = _pairs(largest_scale(tables.get(f"study_{row.study}", pd.DataFrame({"arm": []}))), row)
        if runs["seed"].nunique() >= MIN_SEEDS:
            yield row, runs


def _pairs(table: pd.DataFrame, row: _Row) -> pd.DataFrame:
    """The runs of both arms at the row's point, of the seeds that both have."""
    runs = table[table["arm"].isin([row.arm, row.against])]
    if runs.empty:
        return runs.assign(seed=[])
    for column, value in row.at.items():
        runs = runs[runs[column] == value]
    return runs[runs.groupby("seed")["arm"].transform("nunique") == 2]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
