"""``retconv bench attention``: what a mask costs, in each placement, against plain attention."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import device_option, grids_option, out_option, rounds_option, threads_option
from retconv.grid import Grid
from retconv.terminal import COUNT, Command, Count

DTYPES = ("float32", "bfloat16")


@click.command("attention", cls=Command)
@grids_option("8x8", "14x14", "32x32")
@click.option("--dim", "dims", type=COUNT, multiple=True, default=(16, 64), help="Channels of a head; repeatable.")
@click.option("--width", type=COUNT, default=192, help="Channels of all heads together.")
@click.option("--batch", type=Count(0), default=0, help="Batch; 0 chooses it for 12 million scores in all.")
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), default=("float32",), help="Repeatable.")
@device_option
@click.option("--compile/--eager", "compiled", default=False, help="Under torch.compile, plain attention too.")
@rounds_option
@threads_option
@out_option
@click.option("--append", is_flag=True, help="Keep the rows that the file of --out holds already.")
def command(
    grids: tuple[Grid, ...],
    dims: tuple[int, ...],
    width: int,
    batch: int,
    dtypes: tuple[str, ...],
    device: str,
    compiled: bool,
    rounds: int,
    threads: int,
    out: Path | None,
    append: bool,
) -> None:
    """What a mask costs: each placement and mask against plain fused attention (SDPA) without one.

    `ratio` is the time relative to plain attention, and `memory` the most bytes held at once. The masks are a free
    kernel table, a Gaussian mixture of 5, one Gaussian (its logarithm can be extra channels of query and key), all
    learnt, and a fixed Manhattan decay. Backends are those that auto chooses, and for two masks another one beside it.

    \b
    Examples:
      retconv bench attention --grid 8x8 --dim 64
      retconv bench attention --grid 64x64 --dim 64 --width 128 --rounds 5 --out results.csv --append
    """
    if append and out is None:
        raise click.UsageError("--append keeps the rows of a file: give --out too")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    allocator = bench.keep_pages()
    cases = [bench.attention.Case(g, d, width, batch, t, device, compiled) for g in grids for d in dims for t in dtypes]
    bench.report(bench.attention.bench(cases, rounds), allocator, out, append)
