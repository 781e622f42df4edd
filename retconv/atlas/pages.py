"""The atlas as one page that stands by itself: a row for each mask, with its picture, to be filtered and sorted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from retconv.atlas.entry import Entry
from retconv.atlas.judgement import sample
from retconv.atlas.published import ENTRIES
from retconv.atlas.words import COLUMNS, cells
from retconv.templates import matrix_address, render

if TYPE_CHECKING:
    import pandas as pd


def page(table: pd.DataFrame) -> str:
    """The page of a table, HTML with nothing outside of it but the papers' addresses.

    Example:
        >>> page(retconv.atlas.stored()[:1])[:15]
        '<!DOCTYPE html>'
    """
    rows = [_row(row) for row in table.to_dict("records")]
    placements = sorted({row["placement"] for row in rows})
    return render("retconv.atlas", "atlas.html", rows=rows, columns=COLUMNS, placements=placements)


def picture(entry: Entry) -> tuple[str, np.ndarray]:
    """What is shown of a mask: on several axes its kernel, on a line, or where it has none, the mask.

    Returns:
        ``"kernel"`` or ``"mask"``, and the matrix; of a kernel on three axes the middle slice.

    Example:
        >>> picture(retconv.atlas.ENTRIES["retnet"])[1].shape
        (64, 64)
    """
    forms, kernel, residual = sample(entry.build(entry.grid), entry.grid)
    if residual or kernel.ndim == 2:
        return "mask", forms.entries[0].double().numpy()
    section = kernel[0] if kernel.ndim == 3 else kernel[0, kernel.shape[1] // 2]
    return "kernel", section.numpy()


def _row(row: dict[str, Any]) -> dict[str, Any]:
    what, values = picture(ENTRIES[row["name"]])
    return {
        **row,
        "cells": cells(row),
        "picture": what,
        "image": matrix_address(values),
        "source": _linked(row["source"]),
        "has_kernel": "yes" if row["residual"] == 0 else "no",
        "reads": row["reads"] if isinstance(row["reads"], str) and row["reads"] else "nothing",
    }


def _linked(source: str) -> Markup:
    """A source with its arXiv numbers as links."""
    link = r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>'
    return Markup(re.sub(r"arXiv (\d{4}\.\d{4,5})", link, str(escape(source))))
