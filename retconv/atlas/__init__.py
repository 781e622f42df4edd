"""The atlas: every mask of the field, with a verdict that is computed. What convolution is your mask?"""

from retconv.atlas.entry import Entry
from retconv.atlas.published import ENTRIES

__all__ = ["ENTRIES", "Entry"]
