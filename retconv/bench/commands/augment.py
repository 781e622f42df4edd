"""``retconv bench augment``: a batch augmented as a whole, and by torchvision sample by sample."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import out_option, rounds_option
from retconv.terminal import COUNT, THREADS, Command

#: Those that the benchmark has a peer for.
POLICIES = (
    "trivialaugment",
    "randaugment",
    "autoaugment-cifar10",
    "autoaugment-imagenet",
    "autoaugment-svhn",
    "none",
)


@click.command("augment", cls=Command)
@click.option("--policy", "policies", multiple=True, type=click.Choice(POLICIES), default=POLICIES[:3])
@click.option("--batch", type=COUNT, default=128, help="Images in a batch.")
@click.option("--size", type=COUNT, default=32, help="Height and width of an image, in pixels.")
@click.option("--threads", type=THREADS, default=1, help="CPU threads; one by one, small images use a single one.")
@rounds_option
@out_option
def command(policies: tuple[str, ...], batch: int, size: int, threads: int, rounds: int, out: Path | None) -> None:
    """Augment a batch as a whole, and by torchvision sample by sample, on the CPU.

    Every contender turns uint8 images into one normalised float32 batch: random crop with a border of 4 pixels, mirror
    image, policy, normalisation, random erasing of a quarter of the images. On one thread, what is compared is work on
    one core: loader processes multiply the rate of all contenders alike.

    \b
    Examples:
      retconv bench augment
      retconv bench augment --policy trivialaugment --batch 640
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    allocator = bench.keep_pages()
    bench.report(bench.augment.bench(policies, batch, size, rounds), allocator, out)
