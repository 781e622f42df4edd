"""Errors of planted truths; ``test_errors`` raises each."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

import pandas as pd

from retconv.planted import bias
from retconv.planted.__main__ import main
from retconv.planted.tables import write
from retconv.terminal import Refusal
from retconv.train import TrainError
from tests.error_table import Error

TABLE = pd.DataFrame({"seed": [0]})


def replacing_a_full_table() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for small in (False, True):
            write("toy", TABLE, Path(folder), small)


def replacing_a_full_table_by_command() -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(bias, "table", lambda small, report: TABLE):
        write("bias", TABLE, Path(folder), small=False)
        main.main(["bias", "--small", "--out", folder], standalone_mode=False)


MESSAGE = "holds the full table, which a small one must not replace: give another folder, --out"
TABLES: dict[str, dict[str, Error]] = {
    "planted": {
        "small for full": (replacing_a_full_table, TrainError, f"planted_toy.csv {MESSAGE}"),
        "small for full by command": (replacing_a_full_table_by_command, Refusal, f"planted_bias.csv {MESSAGE}"),
    }
}
