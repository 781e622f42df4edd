"""The paper's figures, each drawn by computation: ``retconv figures``.

A module of this package whose function ``registry`` decorates is a figure; ``runner`` saves it with the data it shows.
"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.figures.every import FIGURES, find
    from retconv.figures.formats import FORMATS, FiguresError
    from retconv.figures.registry import FigureSpec
    from retconv.figures.runner import Rendered, render

lazily(__name__)

__all__ = ["FIGURES", "FORMATS", "FigureSpec", "FiguresError", "Rendered", "find", "render"]
