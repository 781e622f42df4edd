"""The command ``python -m retconv.planted``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pandas as pd
import torch
from tqdm import tqdm

from retconv.planted import bias, pairs, recovery, varying
from retconv.planted.tables import Bound, report, write
from retconv.stored import TABLES
from retconv.train import TrainError
from retconv.train.cli import SETTINGS, Refusal

#: Exit code where a bound does not hold.
BROKEN = 1


class Task(NamedTuple):
    """How a task is run, and what its table must show."""

    table: Callable[[bool, Callable[[], object]], pd.DataFrame]
    bounds: Callable[[pd.DataFrame], list[Bound]]


#: The tasks by name.
RUNS = {
    "recovery": Task(recovery.table, recovery.bounds),
    "varying": Task(varying.table, varying.bounds),
    "bias": Task(bias.table, bias.bounds),
    "pairs": Task(pairs.table, pairs.bounds),
}

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
  python -m retconv.planted                      all, six minutes on one core
  python -m retconv.planted varying --small      one, in seconds, into planted_small/
"""


@click.command(
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 all bounds hold; 1 one does not; 2 the tables cannot be written.",
)
@click.argument("names", metavar="[TASK]...", nargs=-1, type=click.Choice(list(RUNS)))
@click.option("--small", is_flag=True, help="Small grids and three seeds: seconds.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the tables.  [default: the package's own, with --small planted_small]",
)
@click.option("--threads", default=1, help="CPU threads; grids this small gain nothing from more.")
def main(names: tuple[str, ...], small: bool, out: Path | None, threads: int) -> None:
    """Run the tasks, write their tables, and print their bounds."""
    torch.set_num_threads(threads)
    folder = out or (Path("planted_small") if small else TABLES)
    broken = 0
    for name in names or RUNS:
        with tqdm(desc=name, unit="part", leave=False, disable=None) as bar:
            table = RUNS[name].table(small, bar.update)
        try:
            path = write(name, table, folder, small)
        except TrainError as error:
            raise Refusal(str(error)) from error
        bounds = RUNS[name].bounds(table)
        broken += sum(not bound.holds for bound in bounds)
        click.echo(f"{path}: {len(table)} rows\n{report(bounds)}")
    if broken:
        sys.exit(BROKEN)


if __name__ == "__main__":
    main(prog_name="python -m retconv.planted")
