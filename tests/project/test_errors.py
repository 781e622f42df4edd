"""Every public error names the offending value and the remedy. A new ``raise`` needs a line in an ``errors*.py``."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.error_table import Error

TESTS = Path(__file__).parents[1]
FILES = sorted(path.relative_to(TESTS.parent).with_suffix("") for path in TESTS.rglob("errors*.py"))
ERRORS: dict[str, Error] = {
    f"{part}: {name}": error
    for file in FILES
    for part, table in importlib.import_module(".".join(file.parts)).TABLES.items()
    for name, error in table.items()
}


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_error_names_value_and_remedy(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
