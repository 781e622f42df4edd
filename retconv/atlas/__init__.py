"""The atlas: every mask of the field, with a verdict that is computed. What convolution is your mask?"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.atlas.entry import Entry as Entry
    from retconv.atlas.judgement import Verdict as Verdict
    from retconv.atlas.judgement import row as row
    from retconv.atlas.judgement import sample as sample
    from retconv.atlas.judgement import stored as stored
    from retconv.atlas.judgement import table as table
    from retconv.atlas.judgement import verdict as verdict
    from retconv.atlas.pages import page as page
    from retconv.atlas.pages import picture as picture
    from retconv.atlas.published import ENTRIES as ENTRIES
    from retconv.atlas.words import listed as listed
    from retconv.atlas.words import told as told

lazily(__name__)
