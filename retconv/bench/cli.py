"""The options that benchmark commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from retconv.terminal import COUNT, DEVICE, GRID, NEW_FILE, THREADS, NewFile

F = TypeVar("F", bound=Callable[..., Any])


def grids_option(*default: str) -> Callable[[F], F]:
    """``--grid``, which may be repeated, as grids."""
    return click.option(
        "--grid", "grids", multiple=True, type=GRID, default=default, help="Grid such as 64x64; repeatable."
    )


device_option = click.option("--device", type=DEVICE, default="cpu", help="Where the contenders run.")
rounds_option = click.option("--rounds", type=COUNT, default=9, help="Timed rounds.")
lock_option = click.option(
    "--lock",
    type=NEW_FILE,
    help="File held locked while timing: what else uses the device can hold it meanwhile, as by flock(1).",
)
threads_option = click.option("--threads", type=THREADS, default=2, help="CPU threads.")
out_option = click.option("--out", type=NewFile(parents=True), help="Also write the table to this CSV file.")
allocator_option = click.option(
    "--allocator",
    type=click.Choice(["default", "kept"]),
    default="default",
    help="Memory: as a user's program has it, where large arrays go back to the system at once, or freed pages kept.",
)
