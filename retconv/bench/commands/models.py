"""``retconv bench models``: a step of each small vision transformer, masked, against the same model plain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from retconv import bench
from retconv.bench.cli import out_option, rounds_option, threads_option
from retconv.model_names import FIVE, MASK_NAMES, SMALL_MODELS
from retconv.terminal import COUNT, DEVICE, Command

#: Those of the benchmark.
DTYPES = ("fp32", "bf16")


def _choice(flag: str, *choices: str, default: tuple[str, ...], text: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{flag}", f"{flag}s", multiple=True, type=click.Choice(choices), default=default, help=f"{text} Repeatable."
    )


@click.command("models", cls=Command)
@click.option("--model", "names", multiple=True, type=click.Choice(SMALL_MODELS), default=FIVE, help="Repeatable.")
@_choice("mask", *MASK_NAMES, default=("gmm",), text="Mask.")
@_choice("mode", "eager", "compiled", default=("compiled",), text="Whether torch.compile is used.")
@_choice("dtype", *DTYPES, default=("fp32",), text="bf16 is autocast.")
@click.option("--pass", "passes", multiple=True, type=click.Choice(["train", "forward"]), default=("train",))
@click.option("--batch", type=COUNT, default=128, help="Images in a batch.")
@click.option("--placement", default="multiply_logits", help="Where the mask acts.")
@click.option("--device", type=DEVICE, default="cuda" if torch.cuda.is_available() else "cpu")
@rounds_option
@threads_option
@out_option
def command(
    names: tuple[str, ...],
    masks: tuple[str, ...],
    modes: tuple[str, ...],
    dtypes: tuple[str, ...],
    passes: tuple[str, ...],
    batch: int,
    placement: str,
    device: str,
    rounds: int,
    threads: int,
    out: Path | None,
) -> None:
    """Time a training step of each small vision transformer, masked, against the same model without masks.

    A step is forward, cross-entropy, backward and AdamW on random 32x32 images. `cost` is the time relative to the
    plain model, the median of ratios within rounds with its quartiles. Compiling a deep model takes minutes.

    \b
    Examples:
      retconv bench models --model retconv_vit_tiny
      retconv bench models --mode eager --mode compiled --dtype fp32 --dtype bf16 --pass train --pass forward
    """
    torch.set_num_threads(threads)
    allocator = bench.keep_pages()
    table = bench.models.bench(
        list(names), list(masks), list(modes), list(dtypes), list(passes), batch, rounds, device, placement
    )  # fmt: skip
    bench.report(table.assign(batch=batch, placement=placement), allocator, out)
