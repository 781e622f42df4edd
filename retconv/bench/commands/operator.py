"""``retconv bench operator``: every way of computing ``M @ x``, and scipy's, side by side."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import device_option, grids_option, out_option, rounds_option, threads_option
from retconv.grid import Grid
from retconv.terminal import COUNT, Command

KINDS = ("arbitrary", "manhattan", "gmm")


@click.command("operator", cls=Command)
@grids_option("14x14", "16x16", "32x32", "64x64", "128x128", "1024", "8x8x8")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option("--channels", type=COUNT, default=192, help="Channels in all, float32.")
@click.option("--heads", type=COUNT, default=1, help="Kernels among which the channels are shared out.")
@device_option
@rounds_option
@threads_option
@out_option
def command(
    grids: tuple[Grid, ...],
    kinds: tuple[str, ...],
    channels: int,
    heads: int,
    device: str,
    rounds: int,
    threads: int,
    out: Path | None,
) -> None:
    """M @ x by every method, by auto, and by scipy's fftconvolve and oaconvolve.

    The reference is the dense product with a mask that is already there. `best` is the time relative to the fastest
    single contender. In units of the input, `operand` is what the operator holds once prepared, and `memory` what
    applying it takes beyond input and result.

    \b
    Examples:
      retconv bench operator
      retconv bench operator --grid 64x64 --kind arbitrary --rounds 21
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    allocator = bench.keep_pages()
    table = bench.operator.bench(grids, kinds, heads, channels, rounds, device)
    bench.report(table.assign(device=device), allocator, out)
