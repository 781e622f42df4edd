"""The tables of errors of every part, as one."""

import importlib
from pathlib import Path

from tests.error_table import Error

TESTS = Path(__file__).parents[1]
FILES = sorted(path.relative_to(TESTS.parent).with_suffix("") for path in TESTS.rglob("errors*.py"))
ERRORS: dict[str, Error] = {
    f"{part}: {name}": error
    for file in FILES
    for part, table in importlib.import_module(".".join(file.parts)).TABLES.items()
    for name, error in table.items()
}
