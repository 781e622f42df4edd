"""``retconv bench peers``: every claim of speed against the best of what a user would write."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import rounds_option, threads_option
from retconv.terminal import NEW_FOLDER, Command, allow

#: Those of the benchmark.
PARTS = ("conversions", "products", "attending", "retaining", "starting")


@click.command("peers", cls=Command)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="Race these; all if none is given; starting in at most five rounds. Repeatable.",
)
@rounds_option
@threads_option
@click.option("--out", type=NEW_FOLDER, help="Also add the rows to peers_PART.csv here.")
@click.option(
    "--summary", is_flag=True, help="Race nothing: print the stored races as Markdown, ranges over their runs."
)
def command(parts: tuple[str, ...], rounds: int, threads: int, out: Path | None, summary: bool) -> None:
    """Race what the package does against the best of what a user would write or install.

    `ratio` is our time over the fastest other's, the median of ratios within rounds. A row is ahead or behind where
    both quartiles are on one side of 1, else equal. `over …` is our time over a bound such as a copy of the result.
    Results are compared before they are raced. Each part takes a few minutes. Other packages are raced where they are
    installed; those that are not are named on standard error. The second line of packages pins versions that ours
    exclude, hence --no-deps.

    \b
    Examples:
      retconv bench peers --out tables
      retconv bench peers --part attending --rounds 21
      pip install flash-linear-attention flash-pop linear-operator pylops yet-another-retnet
      pip install --no-deps torchscale fairscale nvsubquadratic
    """
    if summary:
        allow("summary", "out", on="--summary, which races nothing")
        folder = () if out is None else (out,)
        click.echo(f"{bench.peers.highlights(*folder)}\n\n{bench.peers.summary(*folder)}")
        return
    torch.set_num_threads(threads)
    allocator = bench.keep_pages()
    if missing := bench.peers.missing(parts or PARTS):
        click.echo(f"not installed, so not raced: {', '.join(missing)}", err=True)
    for part in parts or PARTS:
        started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        table = bench.peers.bench(part, rounds).assign(started=started)
        bench.report(table, allocator, None if out is None else out / f"peers_{part}.csv", append=True)
