"""The options that benchmark commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from retconv.grid import Grid

F = TypeVar("F", bound=Callable[..., Any])


def _parse_grids(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[Grid]:
    try:
        return [Grid.parse(text) for text in value]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def grids_option(*default: str) -> Callable[[F], F]:
    """``--grid``, which may be repeated, as a list of grids."""
    return click.option(
        "--grid", "grids", multiple=True, callback=_parse_grids, default=default, help="Grid such as 64x64; repeatable."
    )


device_option = click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where the contenders run."
)
rounds_option = click.option("--rounds", default=9, help="Timed rounds.")
lock_option = click.option(
    "--lock",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File held locked while timing: what else uses the device can hold it meanwhile, as by flock(1).",
)
threads_option = click.option("--threads", default=2, help="CPU threads.")
out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table to this CSV file."
)
allocator_option = click.option(
    "--allocator",
    type=click.Choice(["default", "kept"]),
    default="default",
    help="Memory: as a user's program has it, where large arrays go back to the system at once, or freed pages kept.",
)
