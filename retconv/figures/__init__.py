"""The paper's figures, each drawn by computation: ``python -m retconv.figures``.

One module for each figure, listed in ``registry``; ``runner`` saves them with the data they show.
"""

from retconv.figures.registry import FIGURES, find
from retconv.figures.runner import Rendered, render
from retconv.figures.spec import FORMATS, FiguresError, FigureSpec

__all__ = ["FIGURES", "FORMATS", "FigureSpec", "FiguresError", "Rendered", "find", "render"]
