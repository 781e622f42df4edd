"""Errors of the command that convolves ever more heads."""

import click

from retconv.measure.__main__ import main
from tests.error_table import Error

CONVOLVED: dict[str, Error] = {
    "no run": (
        lambda: main.main(["nowhere"], standalone_mode=False),
        click.BadParameter,
        "'nowhere' does not exist",
    ),
}

TABLES = {"measure convolved": CONVOLVED}
