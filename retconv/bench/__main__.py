"""``python -m retconv.bench``: the command line."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd
import torch

from retconv.bench import masks, operator
from retconv.bench.timing import keep_pages, provenance
from retconv.grid import Grid

pd.set_option("display.width", 200)


def _grids(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[Grid]:
    try:
        return [Grid.parse(text) for text in value]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _report(table: pd.DataFrame, allocator: str, out: Path | None) -> None:
    """Print provenance and table, and write both to a CSV file if asked."""
    origin = provenance(allocator)
    click.echo("\n".join(f"# {key}: {value}" for key, value in origin.items()))
    for _, part in table.groupby([c for c in ("grid", "kind") if c in table], sort=False):
        click.echo("\n" + part.to_string(index=False, float_format=lambda v: f"{v:.3g}", na_rep="-"))
    if out is not None:
        temporary = out.with_suffix(".tmp")
        table.assign(**origin).to_csv(temporary, index=False)
        temporary.replace(out)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Time what the package claims to be fast, side by side in one run.

    Every table gives the median time, the speed-up over a reference as the median of ratios within rounds with its
    quartiles, and n. Commit, versions, processor, threads and allocator setting are printed above it.
    """


@main.command("operator")
@click.option("--grid", "grids", multiple=True, callback=_grids, help="Grid such as 64x64; may be repeated.",
              default=("14x14", "16x16", "32x32", "64x64", "128x128", "1024", "8x8x8"))  # fmt: skip
@click.option("--kind", "kinds", multiple=True, type=click.Choice(operator.KINDS), default=operator.KINDS)
@click.option("--channels", default=192, help="Channels in all, float32.")
@click.option("--heads", default=1, help="Kernels among which the channels are shared out.")
@click.option("--rounds", default=9, help="Timed rounds.")
@click.option("--threads", default=2, help="CPU threads.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table to this CSV file.")
def _operator(
    grids: list[Grid], kinds: tuple[str, ...], channels: int, heads: int, rounds: int, threads: int, out: Path | None
) -> None:
    r"""M @ x by every method, by auto, and by scipy's fftconvolve and oaconvolve.

    The reference is the dense product with a mask that is already there. `best` is the time relative to the fastest
    single contender. In units of the input, `operand` is what the operator holds once prepared, and `memory` what
    applying it takes beyond input and result.

    \b
    Examples:
      python -m retconv.bench operator
      python -m retconv.bench operator --grid 64x64 --kind arbitrary --rounds 21
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    allocator = keep_pages()
    _report(operator.bench(grids, kinds, heads, channels, rounds), allocator, out)


@main.command("masks")
@click.option("--grid", "grids", multiple=True, callback=_grids, default=("14x14", "32x32"), help="May be repeated.")
@click.option("--heads", default=12)
@click.option("--components", default=5, help="Gaussians per head.")
@click.option("--rounds", default=5, help="Timed rounds.")
@click.option("--threads", default=2, help="CPU threads.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table to this CSV file.")
def _masks(grids: list[Grid], heads: int, components: int, rounds: int, threads: int, out: Path | None) -> None:
    r"""Forward and backward of a Gaussian mixture mask, from its kernel and by (heads, K, N, N) exponentials.

    \b
    Example:
      python -m retconv.bench masks --grid 32x32
    """
    torch.set_num_threads(threads)
    allocator = keep_pages()
    _report(masks.bench(grids, heads, components, rounds), allocator, out)


if __name__ == "__main__":
    main(prog_name="python -m retconv.bench")
