"""What several figures share: a mixture, panels of a mask and a kernel, a colour bar, a table of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_lowercase
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from torch import Tensor

from retconv.colours import SEQUENTIAL, scale
from retconv.figures.style import SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import gaussian_mixture

_MESSAGE, _FOOT = 7.5, 6.0


def array(tensor: Tensor) -> np.ndarray:
    """A tensor's values."""
    return tensor.detach().cpu().numpy()


def f64(*numbers: float) -> Tensor:
    """Numbers in float64."""
    return torch.tensor(numbers, dtype=torch.float64)


def mixture(grid: Grid, components: Iterable[tuple[float, float]]) -> Tensor:
    """The kernel of one head whose Gaussians have these (α, σ), in float64."""
    alpha, sigma = torch.tensor([*components], dtype=torch.float64).T[:, None]
    return gaussian_mixture(grid.offsets(), sigma, alpha)


def open_frame(ax: Axes) -> None:
    """No line where there is no axis."""
    ax.spines[["top", "right"]].set_visible(False)


def headline(figure: Figure, message: str, foot: str = "") -> None:
    """The message of a figure, bold and centred above its panels, and the conditions in grey below them."""
    columns = figure.get_figwidth() / SINGLE
    figure.suptitle("\n".join(wrap(message, int(54 * columns))), fontweight="bold", fontsize=_MESSAGE)
    if foot:
        figure.supxlabel("\n".join(wrap(foot, int(76 * columns))), fontsize=_FOOT, color="0.35")


def letters(axes: Iterable[Axes]) -> None:
    """A bold letter outside the upper left corner of each panel, and no frame around those that show no image."""
    where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    for ax, text in zip(axes, ascii_lowercase, strict=False):
        ax.annotate(text, (0, 1), (-12, 4), ha="right", fontweight="bold", **where)
        if not ax.images:
            open_frame(ax)


def in_pairs(titles: Sequence[str], xlabel: str, ylabel: str, height: float = 1.15) -> tuple[Figure, list[Axes]]:
    """A figure of one column whose panels of these titles and this height share both axes, two in a row."""
    columns = min(2, len(titles))
    rows = -(-len(titles) // columns)
    figure = new_figure(SINGLE, 0.75 + height * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    while len(panels) > len(titles):
        panels.pop().remove()
    for ax, title in zip(panels, titles, strict=True):
        ax.set_title(title)
        open_frame(ax)
    for ax in panels[-columns:]:
        ax.set_xlabel(xlabel)
        ax.tick_params(labelbottom=True)
    figure.supylabel(ylabel, fontsize=rcParams["axes.labelsize"])
    return figure, panels


def draw_mask(ax: Axes, mask: np.ndarray, signed: bool = False) -> AxesImage:
    """A mask ``(N, N)``: rows are queries, columns are keys."""
    image = ax.imshow(mask, **scale(mask, signed))
    last = mask.shape[0] - 1
    ax.set(xticks=[0, last], yticks=[0, last], xlabel="key", ylabel="query")
    ax.xaxis.labelpad = ax.yaxis.labelpad = -5
    return image


def draw_line_kernel(ax: Axes, kernel: np.ndarray) -> None:
    """A kernel ``(2n − 1,)`` with weights of at most 1."""
    n = (kernel.size + 1) // 2
    ax.fill_between(range(1 - n, n), kernel, step="mid", color=SEQUENTIAL(0.75), linewidth=0)
    ax.set(xlim=(-n, n), ylim=(0, 1.04), xticks=[1 - n, 0, n - 1], yticks=[0, 1], box_aspect=1)


def draw_kernel(ax: Axes, kernel: np.ndarray, grid: Grid, signed: bool = False) -> AxesImage:
    """A kernel ``(2 n_1 − 1, 2 n_2 − 1)`` over its offsets, which are the axes' data coordinates."""
    down, right = grid.center
    extent = (-right - 0.5, right + 0.5, down + 0.5, -down - 0.5)
    image = ax.imshow(kernel, extent=extent, **scale(kernel, signed))
    ax.set(xticks=[-right, 0, right], yticks=[-down, 0, down])
    return image


def colour_bar(
    figure: Figure | SubFigure, image: AxesImage, ax: Axes, label: str, below: float | None = None
) -> Colorbar:
    """A slim colour bar exactly as long as its panel: at its right, or ``below`` it by so many panel heights."""
    bounds = (1.03, 0.0, 0.04, 1.0) if below is None else (0.0, -below, 1.0, 0.04)
    orientation = "vertical" if below is None else "horizontal"
    bar = figure.colorbar(image, cax=ax.inset_axes(bounds), orientation=orientation, label=label)
    bar.outline.set_linewidth(0.4)
    bar.ax.locator_params(nbins=3)
    return bar


def pairs(values: np.ndarray, rows: str, columns: str, value: str) -> pd.DataFrame:
    """A matrix as a tidy table: one line for each entry."""
    down, right = np.indices(values.shape)
    return pd.DataFrame({rows: down.ravel(), columns: right.ravel(), value: values.ravel()})
