"""A look as HTML: a table of heads with a picture of every kernel, in a notebook or as a page of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from retconv.heads.layer import LayerLook
from retconv.heads.plots import COLOURS, section
from retconv.heads.verdicts import NOT_A_CONVOLUTION
from retconv.templates import matrix_address, render


def part(layers: Sequence[LayerLook], title: str, confidence: float, notes: Sequence[str]) -> str:
    """The part of a page, HTML with nothing outside of it.

    Args:
        layers: What is told.
        title: What was looked at.
        confidence: Of the intervals.
        notes: Said below the table.
    """
    rows = [{"name": layer.name, "grid": _grid(layer), "heads": _heads(layer)} for layer in layers]
    told = {"title": title, "confidence": f"{100 * confidence:g}", "notes": notes}
    return render("retconv.heads", "look.html", layers=rows, law=NOT_A_CONVOLUTION, colours=COLOURS, **told)


def page(title: str, body: str) -> str:
    """A page that stands by itself, around a part."""
    return render("retconv.heads", "page.html", title=title, part=body)


def _grid(layer: LayerLook) -> str:
    shape = "×".join(map(str, layer.grid.shape)) + " tokens"
    windows = f", {layer.windows} windows" if layer.windows > 1 else ""
    prefix = layer.grid.prefix
    return shape + windows + (f", {prefix} prefix token{'s' * (prefix > 1)}" if prefix else "")


def _heads(layer: LayerLook) -> list[dict[str, Any]]:
    rows = []
    for head, row in enumerate(layer.rows):
        values = section(layer, head)
        values = values[None] if values.ndim == 1 else values
        image = matrix_address(values)
        names = ("explained", "circulant", "position", "content", "prefix_share", "mean_distance", "mean_distance_px")
        cells = {name: _cell(row[name]) for name in names}
        ends = (row["explained_low"], row["explained_high"])
        between = "" if math.isnan(ends[0]) else f"[{ends[0]:.2f}, {ends[1]:.2f}]"
        rows.append(cells | {"head": head, "image": image, "interval": between} | {k: row[k] for k in _WORDS})
    return rows


_WORDS = ("kind", "verdict")


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
