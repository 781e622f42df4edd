"""``python -m retconv.describe``: what a mask does, for a person at a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from retconv.analysis.description import Description, describe
from retconv.files import replacing
from retconv.grid import DenseLimitError, Grid
from retconv.kernels import SCHEDULES, gpsa, window
from retconv.masks import DecayMask, GaussianMixtureMask, Mask, RetNetMask

_HELP = """Describe a mask on a grid: locality, spectrum, bounds and definiteness of each head.

\b
MASK is one of
  retnet     gamma^(q-k) for k <= q, on a line   --gamma [--normalize]
  two-sided  gamma^|offset|, on a line           --gamma
  manhattan  gamma^(|d1| + |d2| + ...)           --gamma
  euclidean  gamma^distance                      --gamma
  gaussian   exp(-distance^2 / 2 sigma^2)        --sigma
  gmm        sum of alpha * Gaussian, one head   --sigma --alpha, as many of each
  gpsa       ConViT's positional attention       --alpha (locality strength), before the border
  window     1 within a box, else 0              --radius
  file       a kernel or mask in a .npy file     --file

Several values of gamma, sigma (of gaussian) or radius are several heads; gamma may name a schedule, with --heads.

\b
Examples:
  python -m retconv.describe gmm --grid 14x14 --sigma 2 0.2 --alpha 0.6 -0.8
  python -m retconv.describe manhattan --grid 14x14 --gamma rmt --heads 4
  python -m retconv.describe retnet --grid 196 --gamma 0.97 --json
  python -m retconv.describe gaussian --grid 16x16 --sigma 3 --plot gaussian.png
"""

MASKS = ("retnet", "two-sided", "manhattan", "euclidean", "gaussian", "gmm", "gpsa", "window", "file")


class _SeveralNumbers(click.Command):
    """Reads ``--alpha 0.6 -0.8`` as ``--alpha 0.6 --alpha -0.8``: a number with its sign is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat an option's name before each of its further values."""
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        expanded: list[str] = []
        current, fresh = None, False
        for arg in args:
            if arg.startswith("-") and not _is_number(arg):
                current, fresh = (arg if arg in several else None), True
                expanded.append(arg)
            else:
                expanded += [arg] if current is None or fresh else [current, arg]
                fresh = False
        return super().parse_args(ctx, expanded)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_grid(context: click.Context, parameter: click.Parameter, value: str) -> Grid:
    try:
        return Grid.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(
    cls=_SeveralNumbers, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.argument("mask", type=click.Choice(MASKS))
@click.option("--grid", required=True, callback=_parse_grid, metavar="NxN", help="Grid such as 14x14, 7 or 2x3x4.")
@click.option("--gamma", multiple=True, help="Decay per token in (0, 1), one for each head, or a schedule's name.")
@click.option("--heads", default=4, show_default=True, help="Heads of a schedule.")
@click.option("--sigma", multiple=True, type=float, help="Width in tokens.")
@click.option("--alpha", multiple=True, type=float, help="Weight of each Gaussian, or GPSA's strength in tokens^-2.")
@click.option("--radius", multiple=True, type=float, help="Radius of the window in tokens.")
@click.option("--normalize", is_flag=True, help="Row-normalise RetNet's mask, as torchscale does.")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A .npy file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Save a figure of head 0.")
@torch.no_grad()
def main(
    mask: str,
    grid: Grid,
    gamma: tuple[str, ...],
    heads: int,
    sigma: tuple[float, ...],
    alpha: tuple[float, ...],
    radius: tuple[float, ...],
    normalize: bool,
    path: Path | None,
    as_json: bool,
    picture: Path | None,
) -> None:
    """Describe a mask on a grid."""
    try:
        if mask in ("retnet", "two-sided", "manhattan", "euclidean"):
            source: Mask | Tensor = _decay(mask, _gammas(gamma), heads, normalize)
        else:
            numbers = {"gaussian": sigma, "gmm": sigma, "gpsa": alpha, "window": radius}.get(mask, ())
            source = _other(mask, grid, numbers, alpha, path)
        description = describe(source, grid, None if isinstance(source, Mask) else mask)
    except (ValueError, DenseLimitError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps(description.to_dict(), indent=2, ensure_ascii=False) if as_json else str(description))
    if picture is not None:
        _save(description, picture)


def _save(description: Description, picture: Path) -> None:
    """Draw head 0 into a file that appears only when it is complete."""
    try:
        with replacing(picture) as file:
            description.plot().savefig(file, format=picture.suffix[1:] or "png", dpi=150)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"cannot save {picture}: {error}") from error


def _gammas(values: tuple[str, ...]) -> str | Tensor:
    """A schedule's name, or numbers."""
    if not values:
        raise click.UsageError(f"give --gamma: numbers in (0, 1), or one of {', '.join(sorted(SCHEDULES))}")
    if len(values) == 1 and not _is_number(values[0]):
        return values[0]
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def _decay(mask: str, gamma: str | Tensor, heads: int, normalize: bool) -> Mask:
    count = heads if isinstance(gamma, str) else len(gamma)
    if mask == "retnet":
        return RetNetMask(count, gamma, normalize=normalize).double()
    metrics = {"two-sided": "two_sided"}
    return DecayMask(count, metrics.get(mask, mask), gamma).double()  # type: ignore[arg-type]


def _other(
    mask: str, grid: Grid, numbers: tuple[float, ...], alpha: tuple[float, ...], path: Path | None
) -> Mask | Tensor:
    if mask == "file":
        if path is None:
            raise click.UsageError("give --file: a .npy file of a kernel or mask")
        loaded = torch.from_numpy(np.load(path, allow_pickle=False)).double()
        # A single head may be stored without its axis.
        return loaded[None] if tuple(loaded.shape) in (grid.kernel_shape, (grid.length, grid.length)) else loaded
    values = torch.tensor(numbers, dtype=torch.float64)
    if not numbers:
        option = {"gpsa": "alpha", "window": "radius"}.get(mask, "sigma")
        raise click.UsageError(f"give --{option}: one or several numbers")
    if mask == "gmm":
        return GaussianMixtureMask.from_parameters(values[None], torch.tensor(alpha, dtype=torch.float64)[None])
    if mask == "gaussian":
        return GaussianMixtureMask.from_parameters(values[:, None], torch.ones_like(values)[:, None])
    if mask == "gpsa":
        return gpsa(grid.offsets(), values).exp()
    return window(grid.offsets(), values)


if __name__ == "__main__":
    # The matrices are small: on a busy machine threads wait for each other longer than they work.
    torch.set_num_threads(1)
    main(prog_name="python -m retconv.describe")
