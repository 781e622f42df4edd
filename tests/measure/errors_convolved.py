"""Errors of the command that convolves ever more heads."""

import tempfile
from pathlib import Path

import click
import yaml

from retconv.measure.__main__ import main
from retconv.measure.convolved import convolved_table
from retconv.train import TrainError
from tests.error_table import Error
from tests.train.small import tiny


def a_run_of_another_name() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy"
        path.mkdir()
        (path / "config.yaml").write_text(yaml.safe_dump(tiny().as_dict()), encoding="utf-8")
        convolved_table([path])


CONVOLVED: dict[str, Error] = {
    "no run": (
        lambda: main.main(["nowhere"], standalone_mode=False),
        click.BadParameter,
        "'nowhere' does not exist",
    ),
    "a copy of a run": (a_run_of_another_name, TrainError, "copy holds run [0-9a-f]{16}: give the folder that name"),
}

TABLES = {"measure convolved": CONVOLVED}
