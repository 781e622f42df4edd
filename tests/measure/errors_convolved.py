"""Errors of the command that convolves ever more heads."""

from retconv.measure.__main__ import main
from retconv.terminal import Refusal
from tests.error_table import Error

CONVOLVED: dict[str, Error] = {
    "no run": (
        lambda: main.main(["nowhere"], standalone_mode=False),
        Refusal,
        r"no recipe or YAML file 'nowhere/config\.yaml'",
    ),
}

TABLES = {"measure convolved": CONVOLVED}
