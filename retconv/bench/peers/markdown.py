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
#: What the README says: the work, and the rows that are meant by their part and a pattern of their names.
HIGHLIGHTS = {
    "decay as an operator, 14×14 to 256×256 and lines": ("products", r"^decay, (?!8×8)"),
    "arbitrary kernel as an operator, 32×32 to 256×256": ("products", r"^arbitrary, \d\d+×\d\d+, x (?!.*196)"),
    "arbitrary kernel on lines of 4,096 and 65,536": ("products", r"^arbitrary, \d+, "),
    "one Gaussian as an operator, 14×14 to 256×256": ("products", r"^Gaussian, (?!8×8)\d+×"),
    "attention with a mask, 64 and 196 tokens": ("attending", r", (?:64|196) tokens.*float32"),
    "attention with a mask, 1,024 tokens": ("attending", r", 1024 tokens.*float32"),
    "causal retention, 1,024 and 4,096 tokens": ("retaining", r"^causal.*, (?:1024|4096) tokens"),
    "one token of retention in place, batch 1 and 64": ("retaining", r"^one token in place"),
}
_BOUND = "over "


def highlights(folder: Path = TABLES) -> str:
    """The table of the README: the range of our time over that of the fastest other, over rows and runs."""
    lines = [_line(["", "fastest other", "ours / its"]), _line(["---"] * 3)]
    for text, (part, pattern) in HIGHLIGHTS.items():
        path = folder / f"peers_{part}.csv"
        if not path.exists():
            continue
        table = pd.read_csv(path)
        rows = table[table["row"].str.contains(pattern)]
        lines.append(_line([text, _names(rows["best"]), _range(rows["ratio"])]))
    return "\n".join(lines)


def summary(folder: Path = TABLES) -> str:
    """A table for each part that is stored, ``peers_PART.csv``, below one another.

    A row is ahead or behind where every run has it so (both quartiles on one side of 1), else equal.
    """
    parts = ((title, folder / f"peers_{part}.csv") for part, title in TITLES.items())
    return "\n\n".join("\n".join(_part(title, pd.read_csv(path))) for title, path in parts if path.exists())


def _part(title: str, table: pd.DataFrame) -> Iterator[str]:
    bounds = [column for column in table if str(column).startswith(_BOUND)]
    races = "ratio" in table
    yield f"## {title}"
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
            cells += [_names(runs["best"]), _range(runs["ratio"]), _verdict(runs["verdict"])]
        yield _line([*cells, *(_range(runs[bound]) for bound in bounds)])
    yield ""
    yield _origin(table)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _names(best: pd.Series) -> str:
    """The fastest others, the most frequent first."""
    return " or ".join(map(str, best.value_counts().index))


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
    runs = table["started"].nunique()
    return (
        f"{runs} run{'s' * (runs != 1)}, started {several['started']} (UTC), commit {several['commit']}, torch "
        f"{several['torch']}, {several['processor']}, threads: {several['threads']}, rounds: {several['n']}."
    )
