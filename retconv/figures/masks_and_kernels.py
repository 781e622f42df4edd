"""Figure: five masks, each beside its kernel."""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn

from retconv.convert import project
from retconv.figures.panels import array, colour_bar, draw_kernel, draw_line_kernel, draw_mask, headline, pairs
from retconv.figures.registry import Drawn, register
from retconv.figures.style import SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import gaussian
from retconv.masks import DecayMask, ElementwiseMask, GaussianMixtureMask, KernelTableMask, Mask, RetNetMask

_LINE, _PLANE = Grid(49), Grid((7, 7))


def _random_elementwise() -> ElementwiseMask:
    mask = ElementwiseMask(_PLANE, heads=1)
    mask.weight = nn.Parameter(torch.randn(mask.weight.shape, generator=torch.Generator().manual_seed(0)))
    return mask


def _masks() -> list[tuple[str, str, Mask, Grid]]:
    mixture = GaussianMixtureMask.from_parameters(torch.tensor([[2.5, 0.8]]), torch.tensor([[1.0, -1.4]]))
    return [
        ("RetNet", "γ = 0.9", RetNetMask(1, gamma=0.9), _LINE),
        ("Manhattan", "γ = 0.7", DecayMask(1, gamma=0.7), _PLANE),
        ("Gaussian", "σ = 1.5", KernelTableMask.from_kernel(gaussian(_PLANE.offsets(), 1.5)), _PLANE),
        ("GMM", "σ = 2.5 and 0.8", mixture, _PLANE),
        ("ELM", "random", _random_elementwise(), _PLANE),
    ]


def _table(name: str, view: str, values: pd.DataFrame, residual: float) -> pd.DataFrame:
    columns = ["mask", "view", "row", "column", "value", "residual"]
    return values.assign(mask=name, view=view, residual=residual)[columns]


def finding(data: pd.DataFrame) -> str:
    """The residual of each mask."""
    residuals = data.groupby("mask", sort=False)["residual"].first()
    return "residual " + ", ".join(f"{name} {value:.2g}" for name, value in residuals.items())


@register("masks_and_kernels", 10, finding)
def draw() -> Drawn:
    """Masks and their kernels.

    Mask matrices (left) and their kernels over the offset key − query (right): RetNet's causal decay (γ = 0.9) on a
    line of 49 tokens; Manhattan decay (γ = 0.7), a Gaussian (σ = 1.5 tokens), a Gaussian mixture (α = 1 and −1.4, σ =
    2.5 and 0.8 tokens) and an element-wise mask (seeded random numbers) on 7×7 tokens in raster order. The relative
    residual ‖M − PM‖/‖M‖ is exactly 0 where the mask is a convolution; the element-wise mask is none, and the kernel
    shown is that of the nearest convolution, which misses nearly all of it.
    """
    figure = new_figure(SINGLE, 8.6)
    axes = figure.subplots(5, 2)
    tables = []
    for (name, parameters, mask, grid), (left, right) in zip(_masks(), axes, strict=True):
        matrix = mask(grid)
        projection = project(matrix, grid)
        residual = float(array(projection.residual)[0])
        dense, kernel = array(matrix[0]), array(projection.kernel[0])
        signed = bool(dense.min() < 0)
        image = draw_mask(left, dense, signed)
        left.set_title(f"{name}, {parameters}")
        colour_bar(figure, image, left, "")
        if grid.ndim == 1:
            draw_line_kernel(right, kernel)
            right.set(xlabel="offset (tokens)", ylabel="weight")
            kernel = kernel[None]
        else:
            draw_kernel(right, kernel, grid, signed).set_norm(image.norm)
            right.set(xlabel="offset right (tokens)", ylabel="offset down (tokens)")
        right.set_title("its kernel" if residual == 0 else "nearest kernel")
        for view, values in (("mask", dense), ("kernel", kernel)):
            tables.append(_table(name, view, pairs(values, "row", "column", "value"), residual))
    data = pd.concat(tables, ignore_index=True)
    residuals = data.groupby("mask", sort=False)["residual"].first()
    *some, last = residuals.index[residuals == 0]
    headline(
        figure,
        f"{', '.join(some)} and {last} masks are convolutions: a kernel says all of them. Free weights (ELM) are none: "
        f"the nearest convolution misses {residuals['ELM']:.0%}",
        "Colours: weight from 0 (white); red above, blue below; purple where all are above. Each row has one scale.",
    )
    return figure, data
