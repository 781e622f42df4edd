"""The paper's figures, each drawn by computation: ``python -m retconv.figures``.

A module of this package whose function ``registry`` decorates is a figure; ``runner`` saves it with the data it shows.
"""

import importlib
import pkgutil

from retconv.figures.registry import FIGURES, FORMATS, FiguresError, FigureSpec, find
from retconv.figures.runner import Rendered, render

__all__ = ["FIGURES", "FORMATS", "FigureSpec", "FiguresError", "Rendered", "find", "render"]

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "__main__":  # which runs the command
        importlib.import_module(f"{__name__}.{_module.name}")
