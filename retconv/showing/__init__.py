"""How objects show themselves: a picture of kernel, symbol and one row of the mask, and the same in a notebook."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.showing.markup import html
    from retconv.showing.panels import plot
    from retconv.showing.picture import Picture, told

lazily(__name__)

__all__ = ["Picture", "html", "plot", "told"]
