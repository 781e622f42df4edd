"""``retconv bench retention``: every form of ``(S ⊙ M) V``, and the public ones, side by side by length."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from retconv import bench
from retconv.bench.cli import allocator_option, device_option, out_option, rounds_option, threads_option
from retconv.terminal import COUNT, Command

KINDS = ("causal", "manhattan", "gmm")


@click.command("retention", cls=Command)
@click.option(
    "--length", "lengths", multiple=True, type=COUNT, default=(256, 1024, 4096, 16384), help="Tokens; repeatable."
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS, help="Mask; repeatable.")
@click.option("--heads", type=COUNT, default=12)
@click.option("--head-size", type=COUNT, default=16, help="Features of q, k and v for each head.")
@device_option
@rounds_option
@threads_option
@allocator_option
@out_option
def command(
    lengths: tuple[int, ...],
    kinds: tuple[str, ...],
    heads: int,
    head_size: int,
    device: str,
    rounds: int,
    threads: int,
    allocator: str,
    out: Path | None,
) -> None:
    """(S ⊙ M) V in every form, by length, and in the public implementations that are installed.

    `causal` is RetNet's decay on a line; `manhattan` (decay) and `gmm` (five Gaussians a head) are on a square grid.
    The reference is `parallel`, which forms mask and scores from the kernel at each call, as a mask that trains must;
    `parallel, mask given` has the mask beforehand. Beyond 4 GiB for a dense object neither runs, and the reference is
    `auto`. A dense form's gigabytes come from the system at each call and are cleared page by page, which costs it
    more than its products; `--allocator kept` leaves that cost out. `mib` is the peak memory of tensors beyond the
    input, `error64` and `error32` are relative to `tiled` in float64. A contender that takes more than half a second
    runs once.

    \b
    Examples:
      retconv bench retention
      retconv bench retention --kind causal --length 4096 --rounds 15
      pip install flash-linear-attention flash-pop yet-another-retnet   # peers, raced once they are installed
    """
    torch.set_num_threads(threads)
    setting = bench.keep_pages() if allocator == "kept" else "default"
    table = bench.retention.bench(list(lengths), kinds, heads, head_size, rounds, device)
    bench.report(table.assign(device=device), setting, out)
