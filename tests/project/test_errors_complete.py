"""No public error goes untested: every ``raise`` of the package is reached by the table of ``test_errors``."""

import ast
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import retconv
from tests.project.every_error import ERRORS

PACKAGE = Path(retconv.__file__).parent


def raise_statements() -> set[tuple[str, int, int]]:
    """File, first and last line of every error raised; figures, bench and failed checks have their own tests."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in ("figures", "bench"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None and "AssertionError" not in ast.dump(node):
                found.add((str(path.relative_to(PACKAGE)), node.lineno, node.end_lineno or node.lineno))
    return found


def frames(call: Callable[[], object]) -> Iterator[tuple[str, int]]:
    """Where, inside the package, a call raised, the errors included that its error was raised from."""
    try:
        call()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            for frame in traceback.extract_tb(cause.__traceback__):
                if Path(frame.filename).is_relative_to(PACKAGE) and frame.lineno:
                    yield str(Path(frame.filename).relative_to(PACKAGE)), frame.lineno
            cause = cause.__cause__


def test_every_raise_of_the_package_is_in_the_table() -> None:
    reached = {frame for call, _, _ in ERRORS.values() for frame in frames(call)}
    missed = {
        (file, first)
        for file, first, last in raise_statements()
        if not any((file, line) in reached for line in range(first, last + 1))
    }
    assert missed == set(), f"no line of ERRORS reaches the raise at {sorted(missed)}"
