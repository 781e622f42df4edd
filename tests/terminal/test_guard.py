"""The guard tells what the user can mend from a bug."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from retconv.grid import Grid
from retconv.terminal import Command


@click.command(cls=Command)
@click.argument("kind")
def fail(kind: str) -> None:
    {
        "bug": lambda: int("x"),
        "ours": lambda: Grid(()),
        "memory": lambda: bytearray(2**62),
        "missing": lambda: Path("no such file").read_text(),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("ours", "1, 2 or 3 axes, got 0"), ("memory", "does not fit into memory"), ("missing", "cannot use no such file")],
)
def test_what_the_user_can_mend_is_one_line(kind: str, message: str) -> None:
    result = CliRunner().invoke(fail, [kind])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_bug_keeps_its_traceback() -> None:
    assert isinstance(CliRunner().invoke(fail, ["bug"]).exception, ValueError)
