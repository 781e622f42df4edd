"""Figure: a row-normalised mask has no kernel, and softmaxed attention only an effective one (law 17)."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from torch import Tensor

from retconv.analysis.effective import effective_kernel
from retconv.colours import scale
from retconv.convert import kernel_to_mask, project
from retconv.figures.labels import name_ends
from retconv.figures.panels import array, colour_bar, f64, headline, letters, pairs
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import gaussian
from retconv.masks import RetNetMask

_SIDES = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_SIGMAS = {0.5: GREY, 1.0: GREEN, 2.0: PINK, 4.0: ORANGE, 8.0: BLUE}
_LENGTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
_GAMMAS = {0.5: GREY, 0.9: GREEN, 0.97: ORANGE, 0.99: BLUE}
_MAP_SIDE, _MAP_SIGMA = 16, 2.0


def _gaussian_mask(side: int, sigma: float) -> Tensor:
    grid = Grid((side, side))
    return kernel_to_mask(gaussian(grid.offsets(), f64(sigma)), grid)


def _normalised(mask: Tensor) -> Tensor:
    """Divide each row by its sum: what softmax does to the logarithm of the mask (law 18)."""
    return mask / mask.sum(dim=-1, keepdim=True)


def _retnet(n: int, gamma: float) -> Tensor:
    return RetNetMask(1, gamma=gamma, normalize=True).double()(n)


#: Panel, what is done to the mask, the parameter's name and colours, and the grids.
_PANELS: list[tuple[str, str, dict[float, str], tuple[int, ...], Callable[[int, float], tuple[Tensor, Grid]]]] = [
    (
        "rows of a Gaussian divided by their sums",
        "σ",
        _SIGMAS,
        _SIDES,
        lambda side, sigma: (_normalised(_gaussian_mask(side, sigma)), Grid((side, side))),
    ),
    (
        "softmax of a Gaussian mask as logits",
        "σ",
        _SIGMAS,
        _SIDES,
        lambda side, sigma: ((4 * _gaussian_mask(side, sigma)).softmax(dim=-1), Grid((side, side))),
    ),
    (
        "RetNet's mask, normalised as in its code",
        "γ",
        _GAMMAS,
        _LENGTHS,
        lambda n, gamma: (_retnet(n, gamma), Grid(n)),
    ),
]


def _table() -> pd.DataFrame:
    rows = []
    for panel, name, colours, sizes, build in _PANELS:
        for value in colours:
            for size in sizes:
                mask, grid = build(size, value)
                residual = float(project(mask, grid).residual)
                rows.append({"panel": panel, "parameter": name, "value": value, "side": size, "residual": residual})
    return pd.DataFrame(rows)


def _map() -> pd.DataFrame:
    weights = _normalised(_gaussian_mask(_MAP_SIDE, _MAP_SIGMA))[None]
    residual = array(effective_kernel(weights, (_MAP_SIDE, _MAP_SIDE)).residual[0])
    return pairs(residual, "row", "column", "residual").assign(panel="by query", side=_MAP_SIDE, value=_MAP_SIGMA)


def _draw_panel(ax: Axes, data: pd.DataFrame, colours: dict[float, str]) -> None:
    plane = int(data["side"].max()) == max(_SIDES)
    ends = []
    for value, colour in colours.items():
        rows = data[data["value"] == value]
        ax.plot(rows["side"], 100 * rows["residual"], marker="o", color=colour)
        end = rows.iloc[-1]
        ends.append((end["side"], 100 * end["residual"], f"{end['parameter']} = {value:g}", colour))
    ax.set_xscale("log", base=2)
    ticks = [2, 4, 8, 16, 32] if plane else [2, 8, 32, 128, 512]
    ax.set_xticks(ticks, [f"{t}²" if plane else f"{t}" for t in ticks])
    ax.minorticks_off()
    ax.set(xlabel="grid (tokens)", ylim=(0, 30))
    name_ends(ax, ends, 0.15)


def finding(data: pd.DataFrame) -> str:
    """The largest residual of each way of normalising, and the smallest on its largest grid."""
    parts = []
    for panel, rows in data[data["panel"] != "by query"].groupby("panel", sort=False):
        largest = rows.loc[rows["residual"].idxmax()]
        end = rows[rows["side"] == rows["side"].max()]["residual"]
        parts.append(
            f"{panel}: at most {largest['residual']:.0%} ({largest['parameter']} = {largest['value']:g}, side "
            f"{largest['side']}), {end.min():.1%} to {end.max():.1%} on the largest grid"
        )
    return "; ".join(parts)


@register("normalisation_breaks_it", 100, finding)
def draw() -> Drawn:
    """Normalisation breaks the convolution.

    A convolution's mask whose rows are normalised has no kernel on a finite grid: rows near the border lose keys, and
    normalising gives their weight to the rest. Relative residual against the nearest convolution (a) for a Gaussian
    mask divided by its row sums, which is the softmax of its logarithm, (b) for the softmax of four times that mask, on
    planes by grid and σ (colours as in a), and (c) for RetNet's causal decay divided by the square root of its row
    sums, as in its code, on lines. As the grid grows, the residual falls only once it is much larger than the kernel.
    (d) By query, for (a) with σ = 2: the corners, whose rows lost most keys, are farthest from the nearest convolution;
    the interior is off too, because that is a mean over border rows as well.
    """
    data, where = _table(), _map()
    figure = new_figure(SINGLE, 7.2)
    axes = figure.subplots(4, 1, height_ratios=[1, 1, 1, 1.15])
    worst = 100 * data["residual"].max()
    headline(
        figure,
        f"A mask with normalised rows is no convolution: it is up to {worst:.0f} % away from any, less where "
        "the kernel is small beside the grid",
        "Residual: distance from the nearest convolution, ‖M − PM‖ / ‖M‖.",
    )
    titles = (
        "a Gaussian, rows divided by their sums",
        "softmax of 4 × a Gaussian",
        "RetNet, rows divided by √ of their sums",
    )
    for ax, (panel, _, colours, *_), title in zip(axes, _PANELS, titles, strict=False):
        _draw_panel(ax, data[data["panel"] == panel], colours)
        ax.set_title(title)
        ax.set_ylabel("residual (%)")
    values = 100 * where.pivot(index="row", columns="column", values="residual").to_numpy()
    image = axes[3].imshow(values, **scale(values, False))
    axes[3].set(xticks=[0, _MAP_SIDE - 1], yticks=[0, _MAP_SIDE - 1], xlabel="query, column")
    axes[3].set_ylabel("query, row", labelpad=-5)
    axes[3].set_title("a by query: σ = 2, 16×16")
    colour_bar(figure, image, axes[3], "residual of the row (%)")
    letters(axes)
    names = ["panel", "parameter", "value", "side", "row", "column", "residual"]
    table = pd.concat([data, where], ignore_index=True).astype({"row": "Int64", "column": "Int64"})
    return figure, table[names]
