"""A picture as a part of a page, for notebooks."""

from __future__ import annotations

import io
import math
from typing import Any

from retconv.showing.panels import plot
from retconv.showing.picture import Picture
from retconv.templates import address, render


def html(picture: Picture) -> str:
    """The picture with a table of what is said of every head: HTML with nothing outside of it."""
    file = io.BytesIO()
    plot(picture).savefig(file, format="png")
    rows = {name: [_cell(value) for value in values] for name, values in picture.facts.items()}
    return render(
        "retconv.showing",
        "shown.html",
        image=address(file.getvalue()),
        title=picture.title,
        heads=picture.heads,
        rows=rows,
    )


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}".replace("-", "−") if math.isfinite(value) else "–"
