"""The command ``retconv planted``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import torch
from tqdm import tqdm

from retconv import planted
from retconv.stored import TABLES
from retconv.terminal import NEW_FOLDER, SETTINGS, THREADS, Command, Refusal
from retconv.train.files import TrainError

#: Exit code where a bound does not hold.
BROKEN = 1


#: Modules of the package, each with a ``table`` and its ``bounds``.
TASKS = ("recovery", "varying", "bias", "pairs")

_HELP = """Learn what was planted, and check it against bounds that theory gives.

\b
TASK is one of these; all if none is given:
  recovery  targets are a convolution: which masks find it, from how many samples
  varying   targets vary in space: a free mask must not become a convolution
  bias      a mask in softmax attention: found but for what softmax leaves free
  pairs     a classification by near, far or both kinds of token pairs

Each writes planted_TASK.csv, which figures and notebook 08 read, and prints its bounds.

\b
Examples:
  retconv planted                      all, six minutes on one core
  retconv planted varying --small      one, in seconds, into planted_small/
"""


@click.command(
    cls=Command,
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 all bounds hold; 1 one does not; 2 the tables cannot be written.",
)
@click.argument("names", metavar="[TASK]...", nargs=-1, type=click.Choice(TASKS))
@click.option("--small", is_flag=True, help="Small grids and three seeds: seconds.")
@click.option(
    "--out",
    type=NEW_FOLDER,
    help="Folder of the tables.  [default: the package's own, with --small planted_small]",
)
@click.option("--threads", type=THREADS, default=1, help="CPU threads; grids this small gain nothing from more.")
def main(names: tuple[str, ...], small: bool, out: Path | None, threads: int) -> None:
    """Run the tasks, write their tables, and print their bounds."""
    torch.set_num_threads(threads)
    folder = out or (Path("planted_small") if small else TABLES)
    broken = 0
    for name in names or TASKS:
        task: Any = getattr(planted, name)
        with tqdm(desc=name, unit="part", leave=False, disable=None) as bar:
            table = task.table(small, bar.update)
        try:
            path = planted.tables.write(name, table, folder, small)
        except TrainError as error:
            raise Refusal(str(error)) from error
        bounds = task.bounds(table)
        broken += sum(not bound.holds for bound in bounds)
        click.echo(f"{path}: {len(table)} rows\n{planted.tables.report(bounds)}")
    if broken:
        sys.exit(BROKEN)


if __name__ == "__main__":
    main(prog_name="python -m retconv.planted")
