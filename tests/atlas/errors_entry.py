"""Errors of what would be no row of the atlas."""

from collections.abc import Callable

from retconv.atlas import Entry
from retconv.grid import Grid
from tests.error_table import Error


def entry(placement: str, reads: str) -> Callable[[], Entry]:
    return lambda: Entry("window", "window", "1", "us", placement, Grid(4), lambda grid: None, reads)  # type: ignore


TABLES: dict[str, dict[str, Error]] = {
    "entry": {
        "placement": (
            entry("bias", ""),
            ValueError,
            "'window': unknown placement 'bias': ",
        ),
        "reads": (entry("retention", "keys"), ValueError, "'window' reads 'keys': choose '', 'queries' or 'tokens'"),
    }
}
