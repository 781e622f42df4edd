"""Where stored results are: they come with the package, so figures are drawn in any folder and from a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FOLDER = Path(__file__).parent
#: Tables as CSV files, each row with the commit that it comes from: ``retconv studies`` and ``planted`` write
#: theirs here, ``bench`` and ``models`` with ``--out``.
TABLES = _FOLDER / "tables"
#: The runs of the studies' tables, without weights: ``retconv results merge`` reads them.
ARCHIVES = _FOLDER / "archives"


def read_runs(path: Path) -> pd.DataFrame:
    """A table of runs: their names, which may be digits alone or look like 12e34, are text."""
    import pandas as pd

    return pd.read_csv(path, dtype={"run": str})
