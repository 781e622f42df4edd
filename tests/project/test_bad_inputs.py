"""No command ends in a traceback for what its user can mend, none accepts nonsense, on any terminal."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tests.project.bad_inputs import BAD_INPUTS

ROWS = [(command, *row) for command, rows in BAD_INPUTS.items() for row in rows]


def main(command: str) -> click.Command:
    """What a program runs."""
    name = command if command == "retconv.describe" else f"{command}.__main__"
    entry: click.Command = importlib.import_module(name).main
    return entry


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are not what they seem."""
    folder = tmp_path_factory.mktemp("spoilt")
    np.save(folder / "torn.npy", np.eye(4))
    (folder / "torn.npy").write_bytes((folder / "torn.npy").read_bytes()[:-8])
    np.save(folder / "words.npy", np.array(["a", "b"]))
    (folder / "empty").touch()
    (folder / "latin.yaml").write_bytes("model: größe".encode("latin-1"))
    return folder


@pytest.mark.parametrize(("command", "arguments", "message"), ROWS, ids=[f"{c} {a}" for c, a, _ in ROWS])
def test_bad_input_is_refused_in_one_short_message(command: str, arguments: str, message: str, spoilt: Path) -> None:
    result = CliRunner().invoke(main(command), shlex.split(arguments.format(tmp=spoilt)))
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    text = " ".join(result.stderr.split())
    assert re.search(message, text), text
    assert "Traceback" not in text
    assert len(text) < 1200


def every_command(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Arguments of a command's help, and of its subcommands'."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from every_command(below, (*words, name))


@pytest.mark.parametrize("charset", ["cp1252", "cp437", "latin-1"])
@pytest.mark.parametrize("command", BAD_INPUTS)
def test_help_shows_on_every_code_page(command: str, charset: str) -> None:
    for words in every_command(main(command)):
        result = CliRunner(charset=charset).invoke(main(command), [*words, "--help"], prog_name=command)
        assert result.exit_code == 0, (words, result.exception)
        assert result.output.startswith("Usage: ")


def test_a_description_shows_on_every_code_page() -> None:
    """An ASCII twin stands for what is missing."""
    arguments = ["gaussian", "--grid", "3x3", "--sigma", "1"]
    result = CliRunner(charset="cp1252").invoke(main("retconv.describe"), arguments)
    assert result.exit_code == 0, result.exception
    assert "mass within sqrt2" in result.output
