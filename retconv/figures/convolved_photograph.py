"""Figure: a mask applied to a photograph as a matrix and as a convolution (law 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.colours import scale
from retconv.convert import kernel_to_mask
from retconv.figures.panels import array, colour_bar, headline, mixture, open_frame, pairs
from retconv.figures.photograph import PHOTOGRAPH, photograph
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, ORANGE, SINGLE, new_figure
from retconv.grid import Grid
from retconv.operators import operator

_GRID = Grid((48, 48))
_SHOWN = 5
_WIDE = 1.0
_AVERAGE = round(1 / (2 * np.pi * _WIDE**2), 4)  # weights that sum to about 1
#: Components (α, σ) of each mask.
_MASKS = {"locality": [(_AVERAGE, _WIDE)], "locality and extroversion": [(_AVERAGE, _WIDE), (-1.0, 0.2)]}


def _apply(kernel: torch.Tensor, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The photograph under the mask: as a product with the dense matrix, and as two convolutions."""
    x = torch.from_numpy(pixels).reshape(1, _GRID.size, 1)
    results = {"dense": kernel_to_mask(kernel, _GRID) @ x}
    results |= {method: operator(kernel, _GRID, method=method) @ x for method in ("direct", "fft")}
    return {method: array(result).reshape(_GRID.shape) for method, result in results.items()}


def _draw_profiles(ax: Axes) -> None:
    offset = range(-_SHOWN, _SHOWN + 1)
    down, right = _GRID.center
    for (name, components), colour in zip(_MASKS.items(), (BLUE, ORANGE), strict=True):
        profile = array(mixture(_GRID, components)[0, down, right - _SHOWN : right + _SHOWN + 1])
        ax.plot(offset, profile, marker="o", color=colour)
        ax.text(-_SHOWN, 0.05 if colour == BLUE else -0.6, name.replace(" ", "\n"), color=colour)
    ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    ax.set(xticks=[-_SHOWN, 0, _SHOWN], xlabel="offset (tokens)", title="the two kernels, through offset 0")
    ax.set_ylabel("weight", labelpad=0)
    open_frame(ax)


def _draw_results(figure: Figure, axes: Sequence[Axes], results: dict[str, np.ndarray], signed: bool) -> None:
    """The dense product, the convolution by FFT, and their difference in units of its power of ten."""
    shade = scale(results["dense"], signed) if signed else {"cmap": "gray", "vmin": 0, "vmax": 1}
    for ax, method in zip(axes, ("dense", "fft"), strict=False):
        colour_bar(figure, ax.imshow(results[method], **shade), ax, "value", below=0.1)
    difference = results["dense"] - results["fft"]
    top = float(np.abs(difference).max())
    power = int(np.floor(np.log10(top))) if top else 0
    image = axes[2].imshow(difference / 10.0**power, **scale(difference / 10.0**power, True))
    colour_bar(figure, image, axes[2], f"value ($10^{{{power}}}$)", below=0.1)
    for ax in axes:
        ax.set(xticks=[], yticks=[])


def finding(data: pd.DataFrame) -> str:
    """The largest difference from the dense product, relative to its largest value."""
    worst = {m: ((data[m] - data["dense"]).abs().max() / data["dense"].abs().max()) for m in ("direct", "fft")}
    return "worst relative difference from the dense product: " + ", ".join(f"{m} {e:.1e}" for m, e in worst.items())


@register("convolved_photograph", 50, finding, data=(PHOTOGRAPH,))
def draw() -> Drawn:
    """The same mask as a matrix and as a convolution.

    A photograph x of 48×48 grey tokens under two masks, in float64. In the middle, a Gaussian that averages (locality:
    α = 0.1592, σ = 1.0 tokens); below, the same minus the token itself (extroversion: α = −1, σ = 0.2), which keeps the
    edges (blue: negative). Applied as a dense 2304×2304 matrix and as a zero-padded convolution by FFT they differ by
    rounding alone: the last column has a scale of its own.
    """
    pixels = photograph(_GRID.shape[0], grey=True)
    figure = new_figure(SINGLE, 4.9)
    rows = figure.add_gridspec(2, 1, height_ratios=[1, 2])
    whole, profiles = rows[0].subgridspec(1, 2, width_ratios=[1, 2]).subplots(squeeze=False)[0]
    colour_bar(figure, whole.imshow(pixels, cmap="gray", vmin=0, vmax=1), whole, "value", below=0.1)
    whole.set(xticks=[], yticks=[], title="photograph x")
    _draw_profiles(profiles)
    axes = rows[1].subgridspec(2, 3).subplots(squeeze=False)
    for ax, title in zip(axes[0], ("by matrix: M x", "by FFT: K ⋆ x", "difference"), strict=True):
        ax.set_title(title)
    tables = []
    for row, colour, (name, components) in zip(axes, (BLUE, ORANGE), _MASKS.items(), strict=True):
        results = _apply(mixture(_GRID, components), pixels)
        _draw_results(figure, row, results, signed=len(components) > 1)
        row[0].set_ylabel(name.replace(" and ", "\nand "), color=colour, fontweight="bold")
        table = pairs(pixels, "row", "column", "photograph")
        for method, values in results.items():
            table[method] = values.ravel()
        tables.append(table.assign(mask=name, difference=table["dense"] - table["fft"]))
    data = pd.concat(tables, ignore_index=True)
    worst = data["difference"].abs().max() / data["dense"].abs().max()
    headline(
        figure,
        f"A mask of {_GRID.size}×{_GRID.size} weights and a convolution do the same to a photograph, to the last "
        "rounding",
        f"Largest difference {worst:.1e} of the largest value, in float64. Red above 0, blue below.",
    )
    return figure, data[["mask", "row", "column", "photograph", "dense", "direct", "fft", "difference"]]
