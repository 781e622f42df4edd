"""Every public error names the offending value and the remedy, and every ``raise`` has a line in an ``errors*.py``."""

from __future__ import annotations

import ast
import re
import traceback
from functools import cache
from pathlib import Path

import pytest

import retconv
from tests.project.every_error import ERRORS

PACKAGE = Path(retconv.__file__).parent


@cache
def raised(name: str) -> tuple[type[Exception], str, set[tuple[str, int]]]:
    """What a call of the table raises: kind, message, and where in the package, the errors it comes from included."""
    call, _, _ = ERRORS[name]
    try:
        call()
    except Exception as error:
        places, cause = set(), error
        while cause is not None:
            places |= {(frame.filename, frame.lineno) for frame in traceback.extract_tb(cause.__traceback__)}
            cause = cause.__cause__
        return type(error), str(error), places
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("name", ERRORS)
def test_error_names_value_and_remedy(name: str) -> None:
    _, kind, message = ERRORS[name]
    actual, text, _ = raised(name)
    assert issubclass(actual, kind)
    assert re.search(message, text)


def raise_statements() -> set[tuple[str, int, int]]:
    """File, first and last line of every error raised; figures, bench and failed checks have their own tests."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in ("figures", "bench"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None and "AssertionError" not in ast.dump(node):
                found.add((str(path), node.lineno, node.end_lineno or node.lineno))
    return found


def test_every_raise_of_the_package_is_in_the_table() -> None:
    reached = set().union(*(raised(name)[2] for name in ERRORS))
    missed = {
        (file, first)
        for file, first, last in raise_statements()
        if not any((file, line) in reached for line in range(first, last + 1))
    }
    assert missed == set(), f"no line of ERRORS reaches the raise at {sorted(missed)}"
