"""Errors of the atlas and its command."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click
import torch

from retconv import atlas
from retconv.atlas import ENTRIES
from retconv.atlas.__main__ import main
from tests.error_table import Error


def changed(**fields: object) -> Callable[[], object]:
    return lambda: dataclasses.replace(ENTRIES["retnet"], **fields)  # type: ignore[arg-type]


def command(*arguments: str) -> Callable[[], object]:
    return lambda: main(list(arguments), standalone_mode=False)


NOWHERE = Path(__file__) / "atlas.html"

ATLAS: dict[str, Error] = {
    "placement": (changed(placement="logits"), ValueError, "'retnet': unknown placement 'logits': "),
    "reads": (changed(reads="keys"), ValueError, "'retnet' reads 'keys': choose '', 'queries' or 'tokens'"),
    "mask": (command("retnett"), click.UsageError, "unknown mask 'retnett': did you mean 'retnet'"),
    "verdict": (
        lambda: atlas.verdict(torch.ones(1, 3), 2, "bias_logit"),
        ValueError,
        "unknown placement 'bias_logit': did you mean 'bias_logits'",
    ),
    "page": (command("retnet", "--page", str(NOWHERE)), click.UsageError, f"cannot write {NOWHERE}: "),
}

TABLES = {"atlas": ATLAS}
