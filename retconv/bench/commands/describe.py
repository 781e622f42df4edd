"""``retconv bench describe``: how long a person at a terminal waits for a description."""

from __future__ import annotations

from pathlib import Path

import click

from retconv import bench
from retconv.bench.cli import out_option, rounds_option
from retconv.terminal import Command


@click.command("describe", cls=Command)
@rounds_option
@out_option
def command(rounds: int, out: Path | None) -> None:
    """Cold starts of retconv describe, beside those of import torch, which it cannot avoid.

    \b
    Example:
      retconv bench describe --rounds 5
    """
    bench.report(bench.describe.bench(rounds), "default", out)
