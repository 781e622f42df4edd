"""Figure: the window of the kernel that each query sees is its row of the mask (law 2)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Rectangle

from retconv.colours import scale
from retconv.convert import kernel_to_mask
from retconv.convert import windows as windows_of
from retconv.figures.panels import array, colour_bar, draw_kernel, draw_mask, headline
from retconv.figures.registry import Drawn, register
from retconv.figures.style import GREEN, ORANGE, RED, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import causal_decay, gaussian

_LINE, _PLANE = Grid(9), Grid((4, 6))
_LINE_QUERIES, _PLANE_QUERIES = (1, 4, 7), (2, 13, 23)
_COLOURS = (ORANGE, GREEN, RED)


def _frame(ax: Axes, left: float, top: float, width: float, height: float, colour: str) -> None:
    frame = Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=1.4, zorder=3)
    frame.set_clip_on(False)
    ax.add_patch(frame)


def _strip(ax: Axes, values: np.ndarray, left: float, top: float) -> None:
    extent = (left - 0.5, left + values.size - 0.5, top + 0.5, top - 0.5)
    ax.imshow(values[None], extent=extent, aspect="auto", **scale([1.0], False))
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), values.size, 1, fill=False, edgecolor="0.6", linewidth=0.4))


def _rows(ax: Axes, mask: np.ndarray, queries: tuple[int, ...]) -> None:
    for q, colour in zip(queries, _COLOURS, strict=True):
        _frame(ax, -0.5, q - 0.5, mask.shape[1], 1, colour)
    ax.set_yticks(queries, [str(q) for q in queries])
    ax.yaxis.labelpad = 2
    for label, colour in zip(ax.get_yticklabels(), _COLOURS, strict=True):
        label.set(color=colour, fontweight="bold")


def _draw_line(figure: SubFigure, kernel: np.ndarray, mask: np.ndarray) -> None:
    n = _LINE.size
    outer = figure.add_gridspec(2, 2, height_ratios=[0.8, 1])
    slide, rows, whole = (figure.add_subplot(cell) for cell in (outer[0, :], outer[1, 0], outer[1, 1]))
    _strip(slide, kernel, 1 - n, 0)
    slide.text(-n, 0, "K", ha="right", va="center")
    for i, (q, colour) in enumerate(zip(_LINE_QUERIES, _COLOURS, strict=True)):
        y = 1.6 * (i + 1)
        _strip(slide, mask[q], -q, y)
        _frame(slide, -q - 0.5, y - 0.5, n, 1, colour)
        _strip(rows, mask[q], 0, y)
        _frame(rows, -0.5, y - 0.5, n, 1, colour)
        for ax, x in ((slide, 0), (rows, q)):
            ax.plot(x, y, marker="o", color="white", markeredgecolor=colour, markersize=3.2, zorder=4)
        slide.text(-n, y, f"q = {q}", ha="right", va="center", color=colour, fontweight="bold")
    slide.set(xlim=(-n - 3.2, n), xticks=[1 - n, 0, n - 1], xlabel="offset key − query (tokens)")
    slide.spines["bottom"].set_bounds(0.5 - n, n - 0.5)
    rows.spines["bottom"].set_bounds(-0.5, n - 0.5)
    rows.set(xlim=(-0.8, n - 0.2), xticks=[0, n - 1], xlabel="key (token)")
    for ax in (slide, rows):
        ax.set(ylim=(5.6, -0.8), yticks=[])
        ax.spines[["left", "top", "right"]].set_visible(False)
    image = draw_mask(whole, mask)
    _rows(whole, mask, _LINE_QUERIES)
    colour_bar(figure, image, whole, "weight")
    slide.set_title("the kernel K and its window at each query q")
    rows.set_title("the windows on the tokens")
    whole.set_title("the mask, by row")


def _draw_plane(figure: SubFigure, kernel: np.ndarray, mask: np.ndarray) -> None:
    height, width = _PLANE.shape
    outer = figure.add_gridspec(2, 2, height_ratios=[1.1, 1])
    slide, whole = figure.add_subplot(outer[0, :]), figure.add_subplot(outer[1, 1])
    small = outer[1, 0].subgridspec(3, 1).subplots(squeeze=False)[:, 0]
    draw_kernel(slide, kernel, _PLANE)
    slide.set(xlabel="offset along the row (tokens)", ylabel="offset down (tokens)")
    for q, colour, ax in zip(_PLANE_QUERIES, _COLOURS, small, strict=True):
        down, right = divmod(q, width)
        _frame(slide, -right - 0.5, -down - 0.5, width, height, colour)
        ax.imshow(mask[q].reshape(height, width), **scale([1.0], False))
        ax.plot(right, down, marker="o", color="white", markeredgecolor=colour, markersize=3.2)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color=colour, linewidth=1.4)
        ax.set_ylabel(f"q = {q}", color=colour, fontweight="bold", labelpad=3)
    image = draw_mask(whole, mask)
    _rows(whole, mask, _PLANE_QUERIES)
    colour_bar(figure, image, whole, "weight")
    slide.plot(0, 0, marker="o", color="white", markeredgecolor="black", markersize=3.2)
    for ax in (slide, whole):
        ax.set_anchor("N")
    slide.set_title("the kernel K and its window at each query q")
    small[0].set_title("the windows on the tokens")
    whole.set_title("the mask, by row")


def _table(name: str, grid: Grid, queries: tuple[int, ...], kernel: torch.Tensor) -> pd.DataFrame:
    """The kernel by offset, and the chosen windows by query and key."""
    offsets = array(grid.offsets()).reshape(-1, grid.ndim)
    parts = [pd.DataFrame({"part": "kernel", "offset": list(map(_offset, offsets)), "value": array(kernel[0]).ravel()})]
    position = array(grid.coordinates())
    for q in queries:
        window = array(windows_of(kernel, grid)[0, q]).ravel()
        offset = list(map(_offset, position - position[q]))
        parts.append(
            pd.DataFrame({"part": "window", "query": q, "key": range(grid.size), "offset": offset, "value": window})
        )
    return pd.concat(parts, ignore_index=True).assign(grid=name)


def _offset(offset: np.ndarray) -> str:
    return " ".join(map(str, offset))


def finding(data: pd.DataFrame) -> str:
    """Compares each window with the kernel at its offsets."""
    kernel = data[data["part"] == "kernel"].set_index(["grid", "offset"])["value"]
    rows = data[data["part"] == "window"].set_index(["grid", "offset"])["value"]
    equal = int((kernel.reindex(rows.index) == rows).sum())
    return f"{equal} of {len(rows)} window entries bit-equal to the kernel"


@register("windows", 20, finding)
def draw() -> Drawn:
    """A row of the mask is a window of the kernel.

    Row q of the mask is the n-sized window of the kernel that starts at n − 1 − q: the paper's “element-wise
    convolution”. Above: RetNet's causal decay (γ = 0.75) on a line of 9 tokens; below: a Gaussian (σ = 1.5 tokens) on
    4×6 tokens. Frames of one colour are the same numbers three times: where the window lies on the kernel, on the
    tokens, and in the mask; the dot is the query itself, at offset 0.
    """
    line, plane = causal_decay(_LINE.offsets(), 0.75), gaussian(_PLANE.offsets(), 1.5)
    figure = new_figure(SINGLE, 7.4)
    headline(
        figure,
        "Row q of the mask is the window of the kernel around q: frames of one colour are the same numbers",
        "Above: RetNet, γ = 0.75, 9 tokens; below: a Gaussian, σ = 1.5, 4×6 tokens. Dot: the query.",
    )
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.25])[:, 0]
    _draw_line(above, array(line[0]), array(kernel_to_mask(line, _LINE)[0]))
    _draw_plane(below, array(plane[0]), array(kernel_to_mask(plane, _PLANE)[0]))
    data = pd.concat(
        [_table("9", _LINE, _LINE_QUERIES, line), _table("4x6", _PLANE, _PLANE_QUERIES, plane)], ignore_index=True
    )
    columns = ["grid", "part", "query", "key", "offset", "value"]
    return figure, data[columns].astype({"query": "Int64", "key": "Int64"})
