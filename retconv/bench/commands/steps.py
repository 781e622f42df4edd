"""``retconv bench steps``: what a training step costs, compiled or not, masked or plain, alone or stacked."""

from __future__ import annotations

import os
from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import lock_option, out_option, rounds_option
from retconv.model_names import OTHERS, SMALL_MODELS
from retconv.terminal import COUNT, DEVICE, POSITIVE, Command

#: Those of the benchmark.
MASKS = ("none", "gmm", "table", "elm", "manhattan", "manhattan_bias")


@click.command("steps", cls=Command)
@click.option("--model", "models", multiple=True, type=click.Choice(SMALL_MODELS), default=("retconv_vit_tiny",))
@click.option("--others", is_flag=True, help="The paper's four other models beside those named.")
@click.option("--mask", "masks", multiple=True, type=click.Choice(MASKS), default=("none", "gmm"))
@click.option("--stack", "stacks", multiple=True, default=("1", "5"), metavar="R[/eager]", help="Replicas; repeatable.")
@click.option("--batch", type=COUNT, default=128, help="Images of each replica in a step.")
@click.option("--device", type=DEVICE, help="Such as cpu or cuda.  [default: a GPU if there is one]")
@click.option("--limit", type=POSITIVE, default=300.0, help="Seconds until all have to be ready.")
@lock_option
@rounds_option
@out_option
def command(
    models: tuple[str, ...],
    others: bool,
    masks: tuple[str, ...],
    stacks: tuple[str, ...],
    batch: int,
    device: str | None,
    limit: float,
    lock: Path | None,
    rounds: int,
    out: Path | None,
) -> None:
    """Training steps of the standard recipe, each in a process of its own: all get ready at once, then take turns.

    `plain` is the time relative to the same model without a mask, `alone` relative to one replica; `graph_ms` leaves
    out what makes the batch.

    \b
    Examples:
      retconv bench steps --stack 1 --stack 5 --stack 5/eager --mask none --mask gmm
      retconv bench steps --others --stack 1 --device cuda
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "2")
    names = (*models, *OTHERS) if others else models
    cases = bench.steps.cases(names, masks, stacks, batch)
    table = bench.steps.bench(cases, rounds, place, limit, lock).rename(columns={"mask": "kind"})
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
    if "profile" in table:
        for case, profile in zip(map(str, cases), table.pop("profile"), strict=True):
            click.echo(f"\n{case}\n{profile}")
    bench.report(table.assign(device=name), "default", out)
