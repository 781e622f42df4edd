"""What every benchmark command shares: reading grids, and printing and storing a table with its provenance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import pandas as pd

from retconv.files import replacing
from retconv.grid import Grid
from retconv.provenance import provenance

F = TypeVar("F", bound=Callable[..., Any])

pd.set_option("display.width", 200)


def _parse_grids(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[Grid]:
    try:
        return [Grid.parse(text) for text in value]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def report(table: pd.DataFrame, allocator: str, out: Path | None, append: bool = False) -> None:
    """Print provenance and table, and write both to a CSV file if asked, on request below the rows that it holds."""
    session = provenance(module="retconv.bench")
    origin = {key: session[key] for key in ("command", "commit", "torch", "python")}
    origin |= {"processor": session["device"], "threads": session["threads"], "allocator": allocator}
    click.echo("\n".join(f"# {key}: {value}" for key, value in origin.items()))
    for _, part in table.groupby([c for c in ("grid", "kind", "part") if c in table], sort=False):
        click.echo("\n" + part.to_string(index=False, float_format=lambda v: f"{v:.3g}", na_rep="-"))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = table.assign(**origin)
        if append and out.exists():
            rows = pd.concat([pd.read_csv(out), rows])
        with replacing(out) as file:
            file.write(rows.to_csv(index=False).encode())


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
