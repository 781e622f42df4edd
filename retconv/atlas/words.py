"""The table of the atlas as a person reads it, at a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: What a column holds, by its heading: as it is explained above the table and in the page.
COLUMNS = {
    "kernel": "whether it is a convolution; if not, the residual ‖M − PM‖/‖M‖ beside the nearest one (law 3)",
    "rank": "outer products that the kernel is (laws 8, 9)",
    "poles": "retention heads of each axis that are the kernel to 1e-3 of its ℓ1 norm (law 16)",
    "states": "of a recurrence over the tokens in raster order, from the past + from the future, to 1e-3 of ‖M‖₂",
    "channels": "of queries and keys that are the log-mask (law 21), or, where the mask multiplies scores, the mask; "
    "up to rounding → within 1e-3; what causality hides is free",
    "definite": "law 11",
    "DC, Nyquist": "gain of a constant image and of a checkerboard, by the kernel",
}


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row of the table in words, by the headings of ``COLUMNS``."""
    exact = row["residual"] == 0
    return {
        "kernel": "yes" if exact else f"none, {row['residual']:.2g}",
        "rank": _count(row["separable_rank"], "–"),
        "poles": _count(row["poles"], "> 32" if exact else "–"),
        "states": f"{row['states_past']} + {row['states_future']}",
        "channels": " → ".join(dict.fromkeys(_count(row[name], "–") for name in ("channels", "channels_near"))),
        "definite": row["definite"].replace("positive", "pos.").replace("negative", "neg.").replace("definite", "def."),
        "DC, Nyquist": f"{_number(row['dc'])}, {_number(row['nyquist'])}",
    }


def listed(table: pd.DataFrame) -> str:
    """All masks, a line each.

    Example:
        >>> listed(retconv.atlas.stored()[:1]).splitlines()[-1].split()[:3]
        ['retnet', '64', 'retention']
    """
    rows = table.to_dict("records")
    lines = [["name", "grid", "placement", *COLUMNS]]
    lines += [[row["name"], row["grid"], row["placement"], *cells(row).values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*(f"{name}: {text}" for name, text in COLUMNS.items()), "", *body])


def told(table: pd.DataFrame) -> str:
    """Each mask by itself, with formula and source.

    Example:
        >>> told(retconv.atlas.stored()[:1]).splitlines()[0]
        'RetNet (retnet)'
    """
    return "\n\n".join(_told(row) for row in table.to_dict("records"))


def _told(row: dict[str, Any]) -> str:
    reads = f", reads {row['reads']}" if row["reads"] else ""
    words = {
        "formula": row["formula"],
        "source": row["source"],
        "placement": f"{row['placement']}{reads}, on {row['grid']} tokens",
        **cells(row),
    }
    width = max(map(len, words)) + 2
    indent = " " * (width + 2)
    lines = [
        textwrap.fill(text, 110, initial_indent=f"  {name:<{width}}", subsequent_indent=indent)
        for name, text in words.items()
    ]
    return "\n".join([f"{row['title']} ({row['name']})", *lines])


def _count(value: float | None, other: str) -> str:
    """A count, which a table may hold as a float, or another word where there is none."""
    return other if value is None or value != value else f"{value:.0f}"


def _number(value: float) -> str:
    # What is 0 but for rounding is printed as 0.
    return f"{0.0 if abs(value) < 1e-12 else value:.3g}"
