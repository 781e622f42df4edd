"""Figure: the poster of the atlas: every mask of the field, with its verdict."""

from __future__ import annotations

import math
import textwrap

import pandas as pd
from matplotlib.axes import Axes

from retconv import atlas
from retconv.colours import scale
from retconv.figures.panels import headline
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, DOUBLE, ORANGE, new_figure
from retconv.stored import TABLES

_TABLE = TABLES / "atlas.csv"
_COLUMNS = 10


def finding(data: pd.DataFrame) -> str:
    """How many masks are convolutions, and which is farthest from one."""
    far = data.loc[data["residual"].idxmax()]
    count = (data["residual"] == 0).sum()
    return f"{count} of {len(data)} masks are convolutions; {far['title']} is farthest from one, {far['residual']:.2g}"


def _verdict(row: pd.Series) -> str:
    if row["residual"]:
        return f"{row['residual']:.2g} off"
    return "a kernel" if "×" not in row["grid"] else f"rank {row['separable_rank']:.0f}"


def _draw(ax: Axes, row: pd.Series) -> str:
    """One mask: its picture, framed by the verdict; returns what is shown."""
    what, values = atlas.picture(atlas.ENTRIES[row["name"]])
    colour = ORANGE if row["residual"] else BLUE
    ax.imshow(values, **scale(values, bool(values.min() < 0)))
    ax.set(xticks=[], yticks=[])
    ax.set_title("\n".join(textwrap.wrap(row["title"], 12)), pad=2, fontsize=6.5)
    ax.set_xlabel(_verdict(row), color=colour, labelpad=2, fontsize=6.5)
    ax.spines[:].set(color=colour, linewidth=1.2)
    return what


@register("mask_atlas", 30, finding, (_TABLE,))
def draw() -> Drawn:
    """Which masks of the field are convolutions.

    Each mask of the atlas as its authors define it. A blue frame says that it is a convolution, M[q, k] = K[k − q], and
    of how many outer products its kernel is the sum; an orange frame, that it is none, and how far it is from the
    nearest one, ‖M − PM‖/‖M‖. Shown is the kernel on 8×8 tokens; on a line of 64 tokens, or where there is none, the
    mask itself, queries down and keys across. Every picture has its own scale from 0 (white); red above, blue
    below. Masks that read queries or tokens are drawn for random ones. The page docs/atlas.html has formulas, sources
    and what else is known of each.
    """
    # Convolutions by rank, then what is none by its distance from one.
    table = atlas.stored().sort_values(["residual", "separable_rank"], kind="stable", ignore_index=True)
    rows = math.ceil(len(table) / _COLUMNS)
    figure = new_figure(DOUBLE, 0.7 + 1.12 * rows)
    headline(
        figure,
        f"{(table['residual'] == 0).sum()} of {len(table)} masks of the field are convolutions (blue); the others "
        "(orange) are off by the share given",
        "On 8×8 tokens the kernel is shown, on a line and where there is none the mask. Rank: of how many outer "
        "products the kernel is the sum. Each picture has its own scale.",
    )
    figure.get_layout_engine().set(h_pad=0.09)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax in axes[len(table) :]:
        ax.axis("off")
    views = [_draw(ax, row) for ax, (_, row) in zip(axes, table.iterrows(), strict=False)]
    return figure, table.assign(view=views)[["name", "title", "grid", "view", "residual", "separable_rank"]]
