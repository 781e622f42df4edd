"""The masks of the field, one module for each family, each a list ``ENTRIES``."""

from retconv.atlas.entry import Entry
from retconv.atlas.published import biases, decays, gates, mixers, tables, windows

#: Every row of the atlas by name, in the order in which it is printed.
ENTRIES: dict[str, Entry] = {
    entry.name: entry for family in (decays, gates, tables, biases, windows, mixers) for entry in family.ENTRIES
}

__all__ = ["ENTRIES"]
