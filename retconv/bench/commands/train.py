"""``retconv bench train``: images per second of training, by model, mask, precision and replicas."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import out_option, rounds_option, threads_option
from retconv.model_names import FIVE, MASK_NAMES, SMALL_MODELS
from retconv.terminal import COUNT, DEVICE, Command, allow


@click.command("train", cls=Command)
@click.option(
    "--model", "models", multiple=True, type=click.Choice(SMALL_MODELS), help="Repeatable.  [default: the paper's five]"
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="DIM/DEPTH/HEADS",
    help="A small ViT of 64 tokens, against a loop written by hand; repeatable.",
)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    type=click.Choice(("none", *MASK_NAMES)),
    default=("none", "gmm"),
    help="Repeatable.",
)
@click.option("--replicas", multiple=True, type=COUNT, default=(1, 5), help="Of a model; repeatable.")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["float32", "bfloat16"]),
    default=("float32",),
    help="Of a shape; repeatable.",
)
@click.option("--beside", is_flag=True, help="Of a shape: two runs of one thread side by side against one alone.")
@click.option("--batch", type=COUNT, default=128, help="Images of each replica in a step.")
@click.option("--device", type=DEVICE, help="Such as cpu or cuda.  [default: a GPU if there is one]")
@rounds_option
@threads_option
@out_option
def command(
    models: tuple[str, ...],
    shapes: tuple[str, ...],
    masks: tuple[str, ...],
    replicas: tuple[int, ...],
    precisions: tuple[str, ...],
    beside: bool,
    batch: int,
    device: str | None,
    rounds: int,
    threads: int,
    out: Path | None,
) -> None:
    """Training steps: stacked replicas, masked and plain, beside plain PyTorch in the same run.

    Of models by name, with the standard recipe: `speedup` is that of a step over the one of 1 replica (five replicas
    that take twice as long have 0.5), and the peer is a DataLoader with torchvision's transforms. Of shapes, with crops
    and mirror images: `speedup` is over a plain loop written by hand. Batches are made from random pixels in the memory
    of the device.

    \b
    Examples:
      retconv bench train --batch 8 --replicas 3 --rounds 5        all five on two cores: two minutes
      retconv bench train --model retconv_pit_tiny --mask gmm --device cuda
      retconv bench train --shape 64/4/4 --shape 96/6/6 --mask none --mask gmm --mask manhattan
      retconv bench train --shape 64/4/4 --beside
    """
    if shapes:
        allow("shapes", "masks", "precisions", "beside", "batch", "device", "rounds", "threads", "out", on="--shape")
    else:
        allow(
            "models", "masks", "replicas", "batch", "device", "rounds", "threads", "out", on="models: give --shape too"
        )
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    allocator = bench.keep_pages()
    if beside:
        table = bench.train.bench_beside(list(shapes), list(masks), batch, rounds)
    elif shapes:
        table = bench.train.bench_shapes(list(shapes), list(masks), list(precisions), batch, rounds, place)
    else:
        table = bench.train.bench(list(models) or list(FIVE), list(masks), list(replicas), batch, rounds, place)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
    bench.report(table.assign(device=name, batch=batch), allocator, out)
