"""The stored races against others as Markdown: of every row the range over runs, and one verdict for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from retconv.stored import TABLES

#: Titles of the parts, in their order.
TITLES = {
    "conversions": "Masks from kernels, and back",
    "products": "Masks as operators",
    "attending": "Masks in attention",
    "retaining": "Retention",
    "starting": "Commands: `--help` against `import torch`",
}
_BOUND = "over "


def summary(folder: Path = TABLES) -> str:
    """A table for each part that is stored, ``peers_PART.csv``, below one another.

    A row is ahead or behind where every run has it so (both quartiles on one side of 1), else equal.
    """
    parts = ((title, folder / f"peers_{part}.csv") for part, title in TITLES.items())
    return "\n\n".join("\n".join(_part(title, pd.read_csv(path))) for title, path in parts if path.exists())


def _part(title: str, table: pd.DataFrame) -> Iterator[str]:
    bounds = [column for column in table if str(column).startswith(_BOUND)]
    races = "ratio" in table
    yield f"### {title}"
    yield ""
    head = [
        "",
        "ms",
        *(["best other", "ours / its", ""] if races else []),
        *(f"ours / {b[len(_BOUND) :]}" for b in bounds),
    ]
    yield _line(head)
    yield _line(["---"] * len(head))
    for name, runs in table.groupby("row", sort=False):
        cells = [str(name), _range(runs["ms"])]
        if races:
            others = runs["best"].value_counts().index
            cells += [" or ".join(map(str, others)), _range(runs["ratio"]), _verdict(runs["verdict"])]
        yield _line([*cells, *(_range(runs[bound]) for bound in bounds)])
    yield ""
    yield _origin(table)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _range(values: pd.Series) -> str:
    """From the least to the largest of several runs, three digits each."""
    values = values.dropna()
    if values.empty:
        return "–"
    low, high = (f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in (values.min(), values.max()))
    return low if low == high else f"{low}–{high}"


def _verdict(verdicts: pd.Series) -> str:
    (same, *others) = verdicts.unique()
    return "equal" if others else str(same)


def _origin(table: pd.DataFrame) -> str:
    """Where the numbers are from."""
    columns = ("started", "commit", "torch", "processor", "threads", "n")
    several = {column: ", ".join(sorted(table[column].astype(str).unique())) for column in columns}
    return (
        f"{table['started'].nunique()} runs, started {several['started']} (UTC), commit {several['commit']}, torch "
        f"{several['torch']}, {several['processor']}, threads: {several['threads']}, rounds: {several['n']}."
    )
