"""``retconv bench masks``: building a Gaussian mixture mask, forward and backward."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import grids_option, out_option, rounds_option, threads_option
from retconv.grid import Grid
from retconv.terminal import COUNT, Command


@click.command("masks", cls=Command)
@grids_option("14x14", "32x32")
@click.option("--heads", type=COUNT, default=12)
@click.option("--components", type=COUNT, default=5, help="Gaussians per head.")
@rounds_option
@threads_option
@out_option
def command(grids: tuple[Grid, ...], heads: int, components: int, rounds: int, threads: int, out: Path | None) -> None:
    """Forward and backward of a Gaussian mixture mask, from its kernel and by (heads, K, N, N) exponentials.

    \b
    Example:
      retconv bench masks --grid 32x32
    """
    torch.set_num_threads(threads)
    allocator = bench.keep_pages()
    bench.report(bench.masks.bench(grids, heads, components, rounds), allocator, out)
