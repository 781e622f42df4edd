"""``retconv bench peers``: every claim of speed against the best of what a user would write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from retconv.bench.peers import attending, conversions, convolutions, installed, products, public, retaining
from retconv.bench.peers.rows import Row, table_of
from retconv.bench.peers.starting import starts
from retconv.bench.timing import progress

PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "conversions": conversions.rows,
    "products": products.rows,
    "attending": attending.rows,
    "retaining": retaining.rows,
}

#: Packages that a part races where they are installed.
PACKAGES = {"products": convolutions.ADAPTERS, "retaining": public.ADAPTERS}


def missing(parts: Iterable[str]) -> list[str]:
    """Packages that these parts would race, and that are not installed."""
    return installed.missing(package for part in parts for package in PACKAGES.get(part, ()))


def bench(part: str, rounds: int) -> pd.DataFrame:
    """Race all rows of a part (see ``rows.raced``)."""
    if part == "starting":
        return starts(min(rounds, 5))
    return table_of(part, progress(PARTS[part](), f"bench peers, {part}"), rounds)
