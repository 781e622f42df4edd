"""``retconv bench resume``: training killed at random instants and resumed ends in the same bits."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import out_option
from retconv.terminal import COUNT, THREADS, Command, Count


@click.command("resume", cls=Command)
@click.option("--kills", type=COUNT, default=20, help="How many runs are killed.")
@click.option("--seed", type=Count(0), default=0, help="Of the instants.")
@click.option("--threads", type=THREADS, default=2, help="CPU threads.")
@out_option
def command(kills: int, seed: int, threads: int, out: Path | None) -> None:
    """Kill training by SIGKILL at random instants, resume it, and compare every bit with an undisturbed run.

    \b
    Example:
      retconv bench resume --kills 20
    """
    torch.set_num_threads(threads)
    table = bench.resume.bench(kills, seed)
    bench.report(table, "default", out)
    same = int((table["weights"] & table["metrics"]).sum())
    click.echo(f"\n{same} of {kills} killed and resumed runs equal the undisturbed one bit for bit")
    if same < kills:
        raise click.ClickException("resuming is not exact")
