"""``retconv bench fused``: on a GPU, what a mask costs against fused attention without one."""

from __future__ import annotations

import os
from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import grids_option, lock_option, out_option, rounds_option
from retconv.grid import Grid
from retconv.terminal import COUNT, DEVICE, POSITIVE, Command

#: Placements of a kernel table, learnt, and how they are computed.
PLACED = ("multiply_logits", "bias_logits")
FORMS = ("reference", "compiled", "auto", "triton", "flex")


@click.command("fused", cls=Command)
@grids_option("8x8", "14x14", "32x32", "64x64")
@click.option("--dim", "dims", type=COUNT, multiple=True, default=(16, 64), help="Channels of a head; repeatable.")
@click.option("--width", type=COUNT, default=192, help="Channels of all heads together.")
@click.option("--tokens", type=COUNT, default=2**15, help="Tokens in all, over the batch.")
@click.option("--dtype", default="bfloat16", type=click.Choice(["float32", "float16", "bfloat16"]))
@click.option("--placement", "placements", multiple=True, default=PLACED, help="Repeatable.")
@click.option("--form", "forms", multiple=True, type=click.Choice(FORMS), default=FORMS, help="Repeatable.")
@click.option("--device", type=DEVICE, default="cuda", help="Such as cuda.")
@click.option("--limit", type=POSITIVE, default=300.0, help="Seconds until all have to be ready.")
@lock_option
@rounds_option
@out_option
def command(
    grids: tuple[Grid, ...],
    dims: tuple[int, ...],
    width: int,
    tokens: int,
    dtype: str,
    placements: tuple[str, ...],
    forms: tuple[str, ...],
    device: str,
    limit: float,
    lock: Path | None,
    rounds: int,
    out: Path | None,
) -> None:
    """A learnt kernel table in attention against fused attention (cuDNN, flash) without a mask, on a GPU.

    Forms are the plain formula, the same compiled, what `auto` chooses, the kernels of Triton, and FlexAttention with
    the table looked up by offset. Each runs as a captured graph.

    \b
    Examples:
      retconv bench fused
      retconv bench fused --grid 64x64 --dim 64 --form flex --form auto
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "2")
    kinds = [(grid.shape, dim, placement) for grid in grids for dim in dims for placement in placements]
    cases = [bench.fused.Case(shape, dim, width, tokens, dtype, placed, forms) for shape, dim, placed in kinds]
    place = torch.device(device)
    table = bench.fused.bench(cases, rounds, place, limit, lock)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
    bench.report(table.assign(device=name), "default", out)
