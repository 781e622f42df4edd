"""Every public error names the offending value and the remedy. A new ``raise`` needs a line in an ``errors*.py``."""

from collections.abc import Callable

import pytest

from tests.project.every_error import ERRORS


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_error_names_value_and_remedy(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
