"""``python -m retconv.bench peers``: every claim of speed against the best of what a user would write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pandas as pd
import torch

from retconv.bench.cli import report, rounds_option, threads_option
from retconv.bench.peers import attending, conversions, products, retaining
from retconv.bench.peers.rows import Row, table_of
from retconv.bench.peers.starting import starts
from retconv.bench.timing import keep_pages, progress

PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "conversions": conversions.rows,
    "products": products.rows,
    "attending": attending.rows,
    "retaining": retaining.rows,
}


def bench(part: str, rounds: int) -> pd.DataFrame:
    """Race all rows of a part (see ``rows.raced``)."""
    if part == "starting":
        return starts(min(rounds, 5))
    return table_of(part, progress(PARTS[part](), f"bench peers, {part}"), rounds)


@click.command("peers")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice([*PARTS, "starting"]),
    help="Race these; all if none is given. Repeatable.",
)
@rounds_option
@threads_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Also write peers_PART.csv here.")
def command(parts: tuple[str, ...], rounds: int, threads: int, out: Path | None) -> None:
    """Race what the package does against the best of what a user would write or install.

    `ratio` is our time over the fastest other's, the median of ratios within rounds. A row is ahead or behind where
    both quartiles are on one side of 1, else equal. `over …` is our time over a bound such as a copy of the result.
    Results are compared before they are raced. Each part takes a few minutes.

    \b
    Examples:
      python -m retconv.bench peers --out tables
      python -m retconv.bench peers --part attending --rounds 21
    """
    torch.set_num_threads(threads)
    allocator = keep_pages()
    for part in parts or (*PARTS, "starting"):
        report(bench(part, rounds), allocator, None if out is None else out / f"peers_{part}.csv")
