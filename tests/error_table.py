"""What a table of errors holds."""

from collections.abc import Callable

#: A call, the exception that it raises, and a regular expression that its message matches.
Error = tuple[Callable[[], object], type[Exception], str]
