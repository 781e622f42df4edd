"""The figures of the gallery, as a user draws them: their names and their tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from retconv.figures import find

#: All figures but those that wait for stored results.
NAMES = [spec.name for spec in find()]


def table(folder: Path, name: str) -> pd.DataFrame:
    """What a figure that was drawn into a folder shows."""
    return pd.read_csv(folder / f"{name}.csv", dtype={"grid": str})
