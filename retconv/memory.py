"""How much memory a dense object may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Largest dense ``(heads, N, N)`` object, in bytes, that the package builds unless told otherwise: 4 GiB.
DENSE_LIMIT_BYTES = 4 * 2**30

_dense_limit: ContextVar[int] = ContextVar("dense_limit", default=DENSE_LIMIT_BYTES)


class DenseLimitError(MemoryError):
    """A dense ``(heads, N, N)`` object would exceed the memory limit.

    Example:
        >>> with retconv.dense_limit(1000):
        ...     try:
        ...         retconv.DecayMask(heads=1)(100)
        ...     except DenseLimitError as error:
        ...         print("too large")
        too large
    """


@contextmanager
def dense_limit(limit_bytes: int) -> Iterator[None]:
    """Change, inside a ``with`` block, how many bytes a dense ``(heads, N, N)`` object may take.

    Args:
        limit_bytes: The limit in bytes; the default is ``DENSE_LIMIT_BYTES`` (4 GiB).

    Raises:
        ValueError: If the limit is not positive.

    Example:
        >>> with dense_limit(2**40):  # a TiB
        ...     mask = retconv.DecayMask(heads=1)(8)
    """
    if limit_bytes <= 0:
        raise ValueError(f"dense_limit: the limit must be a positive number of bytes, got {limit_bytes}")
    token = _dense_limit.set(int(limit_bytes))
    try:
        yield
    finally:
        _dense_limit.reset(token)


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Refuse what takes more bytes than the limit in force."""
    limit = _dense_limit.get()
    if needed > limit:
        raise DenseLimitError(
            f"{what} takes {needed / 2**30:.2f} GiB, above the limit of {limit / 2**30:.2f} GiB: {remedy}, or "
            f"raise the limit with retconv.dense_limit({needed})"
        )
