"""Figure: an atlas of masks by parameter: kernels, mask and symbol, in one plate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from retconv.analysis.spectrum import frequencies, sampled_symbol
from retconv.colours import SEQUENTIAL, scale
from retconv.convert import kernel_to_mask
from retconv.figures.panels import array, draw_line_kernel, f64, pairs
from retconv.figures.registry import Drawn, register
from retconv.figures.style import DOUBLE, new_figure
from retconv.grid import Grid
from retconv.kernels import causal_decay, euclidean_decay, gaussian, gaussian_mixture, gpsa, manhattan_decay, window

_PLANE, _LINE = Grid((6, 6)), Grid(36)
_SAMPLES = 21


def _mixture(weight: Tensor) -> Tensor:
    """Locality of weight 0.6, σ = 2, and a narrow Gaussian of the given weight for each head."""
    alpha = torch.stack([torch.full_like(weight, 0.6), weight], dim=1)
    return gaussian_mixture(_PLANE.offsets(), f64(2.0, 0.2).expand(len(weight), 2), alpha)


def _centred(shift: Tensor) -> Tensor:
    """Positional attention of strength 1/4 whose centre lies ``shift`` tokens to the right."""
    center = torch.stack([torch.zeros_like(shift), shift], dim=1)
    scores = gpsa(_PLANE.offsets(), f64(0.25).expand(len(shift)), center)
    return scores.flatten(1).softmax(dim=1).reshape(scores.shape)


#: Name, formula, the parameter's name, its three values, and the kernels, one head for each value.
_MASKS: list[tuple[str, str, str, tuple[float, float, float], Callable[[Tensor], Tensor]]] = [
    ("RetNet", "γ^(−δ), δ ≤ 0\non a line", "γ", (0.7, 0.9, 0.97), lambda p: causal_decay(_LINE.offsets(), p)),
    ("Manhattan", "γ^(|δ₁| + |δ₂|)", "γ", (0.3, 0.6, 0.9), lambda p: manhattan_decay(_PLANE.offsets(), p)),
    ("Euclidean", "γ^‖δ‖", "γ", (0.3, 0.6, 0.9), lambda p: euclidean_decay(_PLANE.offsets(), p)),
    ("Gaussian", "exp(−‖δ‖²/2σ²)", "σ", (0.5, 1.2, 3.0), lambda p: gaussian(_PLANE.offsets(), p)),
    ("GMM", "0.6 · G(2) + α · G(0.2)", "α", (0.0, -0.8, -1.6), _mixture),
    ("GPSA", "softmax(−‖δ − Δ‖²/4)", "Δ", (0.0, 1.0, 2.0), _centred),
    ("window", "1 where |δ_d| ≤ r", "r", (0.0, 1.0, 3.0), lambda p: window(_PLANE.offsets(), p).double()),
]
_TITLES = ("kernels", "mask", "|symbol|")


def _draw_line_symbol(ax: Axes, gain: np.ndarray) -> None:
    theta = frequencies(gain.size)[:, 0].numpy()
    ax.plot(theta, gain, color=SEQUENTIAL(0.75))
    ax.set(xlim=(-math.pi, math.pi), ylim=(0, 1.08 * gain.max()), box_aspect=1)


def _row(axes: list[Axes], kernels: Tensor, grid: Grid) -> list[tuple[str, int, np.ndarray]]:
    """Draw three kernels, then mask and symbol of the middle one; returns what is drawn."""
    mask = array(kernel_to_mask(kernels, grid)[1])
    size = (8 * _SAMPLES + 1,) if grid.ndim == 1 else (_SAMPLES, _SAMPLES)
    gain = array(sampled_symbol(kernels[1:2], size)[0].abs())
    views: list[tuple[str, int, np.ndarray]] = []
    for i, (ax, kernel) in enumerate(zip(axes[:3], array(kernels), strict=True)):
        if grid.ndim == 1:
            draw_line_kernel(ax, kernel)
        else:
            ax.imshow(kernel, **scale(kernel, bool(kernels.min() < 0)))
        views.append(("kernel", i, np.atleast_2d(kernel)))
    axes[3].imshow(mask, **scale(mask, bool(mask.min() < 0)))
    if grid.ndim == 1:
        _draw_line_symbol(axes[4], gain)
    else:
        axes[4].imshow(gain, **scale(gain, False))
    return [*views, ("mask", 1, mask), ("symbol", 1, np.atleast_2d(gain))]


def finding(data: pd.DataFrame) -> str:
    """How many masks and kernels, and which are negative somewhere."""
    kernels = data[data["view"] == "kernel"].groupby(["mask", "parameter_value"], sort=False)["value"].min()
    negative = [f"{mask} at {value:g}" for (mask, value), low in kernels.items() if low < 0]
    return f"{data['mask'].nunique()} masks, {len(kernels)} kernels; negative weights: {', '.join(negative)}"


def _head(figure: Figure, axes: np.ndarray) -> None:
    """What the columns show, and the extent of their axes once, at the foot."""
    for column, title in zip((2, 4, 5), _TITLES, strict=True):
        place = axes[0, column].transAxes
        axes[0, column].text(0.5, 1.2, title, transform=place, ha="center", fontweight="bold", in_layout=False)
    last = _PLANE.shape[0] - 1
    axes[-1, 1].set(xticks=[0, last, 2 * last], xticklabels=[f"−{last}", "0", f"{last}"])
    axes[-1, 1].set_xlabel("offset (tokens)")
    axes[-1, 4].set(xticks=[0, _PLANE.size - 1], xlabel="key")
    axes[-1, 5].set(xticks=[-0.5, (_SAMPLES - 1) / 2, _SAMPLES - 0.5], xticklabels=["−π", "0", "π"])
    axes[-1, 5].set_xlabel("θ₂ (rad/token)")


@register("mask_atlas", 30, finding)
def draw() -> Drawn:
    """An atlas of masks.

    One row for each mask: its kernel over the offset key − query for three values of its parameter, then, for the
    middle value, the mask matrix (queries down, keys across, in raster order) and the modulus of its symbol. RetNet's
    causal decay is on a line of 36 tokens, all others on 6×6 tokens. Every panel has its own scale from 0 (white) to
    its largest weight; in the Gaussian mixture red is positive and blue negative. Wide kernels have narrow symbols;
    Manhattan decay and the window show the axes of the grid, Euclidean decay and the Gaussian are round; a negative
    narrow Gaussian takes a multiple of the identity from the mixture, down to a self-weight of −0.2 at α = −0.8. The
    element-wise mask has no kernel and is in the first figure.
    """
    figure = new_figure(DOUBLE, 7.9)
    figure.get_layout_engine().set(rect=(0.0, 0.0, 1.0, 0.975), w_pad=0.02)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(len(_MASKS), 6, width_ratios=[1.2, 1, 1, 1, 1, 1])
    tables = []
    for (name, formula, parameter, values, build), row in zip(_MASKS, axes, strict=True):
        row[0].axis("off")
        row[0].text(0.0, 0.6, name, transform=row[0].transAxes, in_layout=False, fontweight="bold", fontsize=8)
        row[0].text(0.0, 0.5, formula, transform=row[0].transAxes, in_layout=False, va="top")
        kernels = build(f64(*values))
        grid = _LINE if kernels.ndim == 2 else _PLANE
        for part, i, image in _row(list(row[1:]), kernels, grid):
            rows = pairs(image, "row", "column", "value")
            tables.append(rows.assign(mask=name, parameter=parameter, parameter_value=values[i], view=part))
        for ax, value in zip(row[1:4], values, strict=True):
            ax.set_title(f"{parameter} = {value:g}".replace("-", "−"), pad=3)
        row[4].set_title(f"{parameter} = {values[1]:g}".replace("-", "−"), pad=3)
        row[5].set_title(f"{parameter} = {values[1]:g}".replace("-", "−"), pad=3)
        for ax in row[1:]:
            ax.set(xticks=[], yticks=[])
    _head(figure, axes)
    columns = ["mask", "parameter", "parameter_value", "view", "row", "column", "value"]
    return figure, pd.concat(tables, ignore_index=True)[columns]
