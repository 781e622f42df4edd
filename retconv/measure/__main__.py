"""The command ``retconv measure``."""

from __future__ import annotations

from pathlib import Path

import click
import torch
from tqdm import tqdm

from retconv import measure
from retconv.provenance import provenance
from retconv.stored import TABLES
from retconv.terminal import FOLDER, NEW_FILE, SETTINGS, THREADS, Command
from retconv.train.files import write_whole

_HELP = """Convolve ever more heads of trained models, and write how accurate they are.

RUN is a folder of a finished run with its weights, of a model without a class token. Heads become their effective
kernels in the order of the error of their output, and at random, without any training: kernels and errors are of images
that the run held out, accuracy of 1,000 test images. A run takes a minute or two on a core.

\b
Rows of other runs that the table holds stay.

\b
Example:
  retconv measure runs/850502d5bc4b6394 runs/aa862cd7962fe0bd
"""


@click.command(
    cls=Command,
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 done; 2 a folder is no finished run, or its weights or data are missing.",
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=FOLDER)
@click.option(
    "--out",
    type=NEW_FILE,
    default=TABLES / "convolved_heads.csv",
    show_default="the package's own convolved_heads.csv",
    help="The table.",
)
@click.option("--threads", type=THREADS, default=1, help="CPU threads.")
def main(runs: tuple[Path, ...], out: Path, threads: int) -> None:
    """Measure runs, and write their table."""
    torch.set_num_threads(threads)
    session = provenance()
    origin = {key: session[key] for key in ("commit", "torch", "device", "threads")}
    with tqdm(runs, unit="run", disable=None) as bar:
        table = measure.merged(measure.convolved_table(bar).assign(scale="full", **origin), out)
    write_whole(out, table.to_csv(index=False, float_format="%.6g").encode())
    click.echo(f"{out}: {len(table)} rows")


if __name__ == "__main__":
    main(prog_name="python -m retconv.measure")
