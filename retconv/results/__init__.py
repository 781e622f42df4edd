"""Stored runs, read back: which there are, what is missing, and their numbers as tidy frames."""

from retconv.results.store import Store

__all__ = ["Store"]
