"""Stored runs, read back: which there are, what is missing, their numbers as tidy frames; and carried as archives."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.results.merging import Merged, merge
    from retconv.results.packing import Packed, pack
    from retconv.results.store import Store

lazily(__name__)

__all__ = ["Merged", "Packed", "Store", "merge", "pack"]
