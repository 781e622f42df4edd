"""Every public error names the offending value and the remedy. A new ``raise`` needs a line in an ``errors_*.py``."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from error_table import Error

FILES = sorted(path.stem for path in Path(__file__).parent.glob("errors_*.py"))
ERRORS: dict[str, Error] = {
    f"{part}: {name}": error
    for file in FILES
    for part, table in importlib.import_module(file).TABLES.items()
    for name, error in table.items()
}


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_error_names_value_and_remedy(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
