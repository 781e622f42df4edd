"""Figure: what a query patch of a photograph sees under three masks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from retconv.figures.panels import array, headline, pairs
from retconv.figures.photograph import PHOTOGRAPH, photograph
from retconv.figures.registry import Drawn, register
from retconv.figures.style import RED, SINGLE, YELLOW, new_figure
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, Mask, RetNetMask

_PATCH = 12
_GRID = Grid((14, 14))
_QUERIES = {"A": (4, 7), "B": (10, 3), "C": (7, 12)}


def _masks() -> list[tuple[str, Mask, Grid]]:
    mixture = GaussianMixtureMask.from_parameters(torch.tensor([[1.0, 4.0]]), torch.tensor([[0.6, 0.4]]))
    return [
        ("RetNet", RetNetMask(1, gamma=0.95), Grid(_GRID.size)),
        ("Manhattan", DecayMask(1, gamma=0.75), _GRID),
        ("GMM", mixture, _GRID),
    ]


def _mark(ax: Axes, query: tuple[int, int], colour: str, name: str = "") -> None:
    down, right = query
    corner = (right * _PATCH - 0.5, down * _PATCH - 0.5)
    ax.add_patch(Rectangle(corner, _PATCH, _PATCH, fill=False, edgecolor=colour, linewidth=1.2))
    if name:
        ax.text(corner[0] + _PATCH + 3, corner[1] + _PATCH / 2, name, color=colour, va="center", fontweight="bold")


def finding(data: pd.DataFrame) -> str:
    """How many patches each mask lets a query see at a tenth of the full weight or more, on average."""
    counts = data.assign(seen=data["weight"] >= 0.1).groupby(["mask", "query"], sort=False)["seen"].sum()
    mean = counts.groupby("mask", sort=False).mean()
    return "patches of 196 seen with weight ≥ 0.1: " + ", ".join(f"{name} {count:.0f}" for name, count in mean.items())


@register("masked_photograph", 40, finding, data=(PHOTOGRAPH,))
def draw() -> Drawn:
    """What a patch sees.

    A photograph in 14×14 patches of 12 pixels, and what the query patches A, B and C see of it: each patch is as opaque
    as its entry in the query's row of the mask says, white where that is 0. RetNet's causal decay (γ = 0.95) runs along
    the line of patches in raster order, so it sees the rows above and nothing after the query; Manhattan decay (γ =
    0.75) and the Gaussian mixture (α = 0.6 and 0.4, σ = 1 and 4 patches) know the plane.
    """
    pixels = photograph(_PATCH * _GRID.shape[0])
    figure = new_figure(SINGLE, 6.1)
    headline(
        figure,
        "RetNet's mask sees what was read before; Manhattan's and the mixture's see what is near in the plane",
        "A patch is as opaque as its weight in the query's row of the mask.",
    )
    rows = figure.add_gridspec(2, 1, height_ratios=[1, 1.35])
    whole = figure.add_subplot(rows[0])
    whole.imshow(pixels)
    lines = np.arange(_PATCH, pixels.shape[0], _PATCH) - 0.5
    whole.hlines(lines, -0.5, pixels.shape[0] - 0.5, color="white", linewidth=0.3, alpha=0.6)
    whole.vlines(lines, -0.5, pixels.shape[0] - 0.5, color="white", linewidth=0.3, alpha=0.6)
    whole.set_title("14×14 patches, three of them queries")
    axes = rows[1].subgridspec(len(_QUERIES), 3).subplots(squeeze=False)
    tables = []
    for column, (name, mask, grid) in enumerate(_masks()):
        matrix = array(mask(grid)[0])
        axes[0, column].set_title(name)
        for row, (label, query) in enumerate(_QUERIES.items()):
            weight = matrix[query[0] * _GRID.shape[1] + query[1]].reshape(_GRID.shape)
            ax = axes[row, column]
            opacity = np.kron(weight, np.ones((_PATCH, _PATCH)))[..., None]
            ax.imshow(opacity * pixels + (1 - opacity))
            _mark(ax, query, RED)
            tables.append(pairs(weight, "patch_row", "patch_column", "weight").assign(mask=name, query=label))
    for row, (label, query) in enumerate(_QUERIES.items()):
        _mark(whole, query, YELLOW, label)
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontweight="bold")
    for ax in (whole, *axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(linewidth=0.4, color="0.6")
    data = pd.concat(tables, ignore_index=True)
    return figure, data[["mask", "query", "patch_row", "patch_column", "weight"]]
