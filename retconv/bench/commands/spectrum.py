"""``retconv bench spectrum``: the largest singular values of a mask that is never formed."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import grids_option, out_option, rounds_option, threads_option
from retconv.grid import Grid
from retconv.terminal import COUNT, Command

#: Those of the benchmark.
KINDS = ("manhattan", "gaussian", "narrow gaussian")


@click.command("spectrum", cls=Command)
@grids_option("32x32", "64x64", "128x128")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option("--values", "k", type=COUNT, default=8, help="How many singular values.")
@rounds_option
@threads_option
@out_option
def command(
    grids: tuple[Grid, ...], kinds: tuple[str, ...], k: int, rounds: int, threads: int, out: Path | None
) -> None:
    """Largest singular values by Lanczos iteration on the fast operator, beside scipy's svds of the dense mask.

    The masks are outer products, so their singular values are known: `error` is the largest relative one.

    \b
    Example:
      retconv bench spectrum --grid 128x128 --rounds 3
    """
    torch.set_num_threads(threads)
    allocator = bench.keep_pages()
    bench.report(bench.spectrum.bench(grids, kinds, k, rounds), allocator, out)
