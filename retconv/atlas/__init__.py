"""The atlas: every mask of the field, with a verdict that is computed. What convolution is your mask?"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.atlas.entry import Entry
    from retconv.atlas.judgement import Verdict, row, sample, stored, table, verdict
    from retconv.atlas.pages import page, picture
    from retconv.atlas.published import ENTRIES
    from retconv.atlas.words import listed, told

lazily(__name__)

__all__ = [
    "ENTRIES",
    "Entry",
    "Verdict",
    "listed",
    "page",
    "picture",
    "row",
    "sample",
    "stored",
    "table",
    "told",
    "verdict",
]
