"""Figure: every method of computing ``M @ x`` agrees with the dense product (law 1)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from retconv.checks import relative_error, tolerance
from retconv.convert import kernel_to_mask
from retconv.figures.panels import headline
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, CYAN, GREEN, ORANGE, PINK, RED, SINGLE, new_figure
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, KernelTableMask, Mask, RetNetMask
from retconv.operators import METHODS, operator

_GRIDS = [
    Grid(shape) for shape in [(1,), (7,), (256,), (1, 7), (3, 5), (14, 14), (16, 24), (32, 32), (2, 3, 4), (6, 7, 8)]
]
_HEADS, _CHANNELS = 2, 3
_DTYPES = (torch.float64, torch.float32)
_LOOK = dict(zip(METHODS, zip((BLUE, ORANGE, GREEN, PINK, RED, CYAN), "osD^vX", strict=True), strict=True))


def _masks(grid: Grid, generator: torch.Generator) -> Iterator[tuple[str, Mask]]:
    """Every kind of source: a free kernel, a sum of outer products, a decay."""
    yield "free kernel", KernelTableMask.from_kernel(torch.randn(_HEADS, *grid.kernel_shape, generator=generator))
    yield "GMM", GaussianMixtureMask(_HEADS, start="local", generator=generator)
    yield "Manhattan", DecayMask(_HEADS, gamma=torch.tensor([0.6, 0.95]))
    if grid.ndim == 1:
        yield "RetNet", RetNetMask(_HEADS)


def _measure(grid: Grid) -> Iterator[dict[str, object]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_HEADS, grid.size, _CHANNELS, generator=generator, dtype=torch.float64)
    for name, mask in _masks(grid, generator):
        expected = kernel_to_mask(mask.double().kernel(grid), grid).detach() @ x
        for dtype in _DTYPES:
            source = mask.to(dtype)
            for method in operator(source, grid).methods:
                actual = (operator(source, grid, method=method) @ x.to(dtype)).detach()
                yield {
                    "grid": "×".join(map(str, grid.shape)),
                    "mask": name,
                    "method": method,
                    "dtype": str(dtype).removeprefix("torch."),
                    "relative_error": relative_error(actual, expected),
                    "tolerance": tolerance(dtype),
                }


def _draw(ax: Axes, data: pd.DataFrame) -> None:
    """The worst error over masks: grids side by side, methods next to one another."""
    grids = list(dict.fromkeys(data["grid"]))
    limit = float(data["tolerance"].iloc[0])
    positive = data.loc[data["relative_error"] > 0, "relative_error"]
    # Errors of exactly 0 are drawn one decade below the smallest other one.
    floor = 10 ** (np.floor(np.log10(positive.min())) - 1)
    worst = data.groupby(["method", "grid"])["relative_error"].max()
    for i, (method, (colour, marker)) in enumerate(_LOOK.items()):
        errors = worst.xs(method, level="method").reindex(grids)
        shift = (i - (len(_LOOK) - 1) / 2) * 0.13
        heights = errors.where(errors > 0, floor).where(errors.notna())
        ax.plot(np.arange(len(grids)) + shift, heights, linestyle="", marker=marker, color=colour, label=method)
    ax.axhline(limit, color="black", linewidth=0.8, linestyle="--")
    for x in range(1, len(grids), 2):
        ax.axvspan(x - 0.5, x + 0.5, color="0.95", zorder=0, linewidth=0)
    ax.set_yscale("log")
    ax.set_xticks(range(len(grids)), grids, rotation=90)
    ax.tick_params(axis="x", length=0)
    ax.set(xlabel="grid (tokens)", xlim=(-0.5, len(grids) - 0.5), ylim=(floor / 3, limit * 20))
    powers = range(round(np.log10(floor)) + 1, round(np.log10(limit)) + 1)
    ax.set_yticks([floor, *(10.0**p for p in powers)], ["0", *(f"$10^{{{p}}}$" for p in powers)])
    ax.minorticks_off()
    ax.text(-0.35, limit * 1.3, "tolerance", va="bottom")


def finding(data: pd.DataFrame) -> str:
    """The worst error of each dtype."""
    worst = data.groupby("dtype", sort=False)["relative_error"].max()
    parts = ", ".join(f"{dtype} {error:.1e}" for dtype, error in worst.items())
    return f"worst of {len(data)} relative errors: {parts}"


@register("equivalence", 110, finding)
def draw() -> Drawn:
    """All methods agree.

    Relative error max|y − Mx| / max|Mx| of every method of computing M x against the dense product in float64, the
    worst over a free kernel, a Gaussian mixture (5 components, local start), Manhattan decay (γ = 0.6 and 0.95) and, on
    a line, RetNet's decay; 2 heads, 3 channels, seeded normal input. Dashed: the tolerance that the tests hold to. A
    method is missing where it does not apply, and 0 means bit-equal.
    """
    data = pd.DataFrame([row for grid in _GRIDS for row in _measure(grid)])
    worst = data.groupby("dtype", sort=False)["relative_error"].max()
    figure = new_figure(SINGLE, 5.0)
    axes = figure.subplots(2, 1)
    headline(
        figure,
        f"Every way of computing M x gives the dense product, up to {worst['float64']:.1e} in float64 "
        f"and {worst['float32']:.1e} in float32",
        "Relative to the largest value of M x; seeded input; 0: bit-equal.",
    )
    for ax, (dtype, rows) in zip(axes, data.groupby("dtype", sort=False), strict=True):
        _draw(ax, rows)
        ax.set_title(dtype)
        ax.set_ylabel("worst relative error")
    axes[0].set(xticklabels=[], xlabel="")
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.45, -0.42), ncols=3, handletextpad=0.1)
    return figure, data
