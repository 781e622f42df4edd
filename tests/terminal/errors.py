"""Errors of the commands that are of no one part: the guard, options without effect, and kinds of values."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from retconv.describe import main as describe
from retconv.models.small import retconv_vit_tiny
from retconv.results.__main__ import main as results
from retconv.terminal import DEVICE
from tests.error_table import Error


def command(main: click.Command, text: str) -> Callable[[], object]:
    return lambda: main.main(text.split(), standalone_mode=False)


def words_for_numbers() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.npy"
        np.save(path, np.array(["a", "b"]))
        command(describe, f"file --grid 3 --file {path}")()


TERMINAL: dict[str, Error] = {
    "no effect": (
        command(describe, "gaussian --grid 3 --sigma 1 --gamma 0.9"),
        click.UsageError,
        "--gamma has no effect on gaussian, which takes --sigma",
    ),
    "guarded": (command(describe, "gaussian --grid 3o --sigma 1"), click.ClickException, "is for open grids"),
    "no values": (lambda: DEVICE.convert("meta", None, None), click.BadParameter, "'meta' is no device here: choose"),
    "heads": (
        command(describe, "manhattan --grid 3 --gamma 0.5 --heads 2"),
        click.UsageError,
        "is of a schedule: 1",
    ),
    "gammas": (command(describe, "manhattan --grid 3 --gamma 0.5 rmt"), click.UsageError, "one schedule, got 0.5 rmt"),
    "words": (words_for_numbers, click.UsageError, "words.npy holds no array of real numbers"),
    "image": (lambda: retconv_vit_tiny(img_size=33), ValueError, "img_size must be a multiple of it, got 33"),
    "command": (command(results, "shwo"), click.UsageError, "unknown command 'shwo': did you mean 'show'"),
}

TABLES = {"terminal": TERMINAL}
