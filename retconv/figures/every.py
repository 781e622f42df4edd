"""Every figure: a module of this package whose function ``registry`` decorates is one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from retconv.figures.formats import FiguresError
from retconv.figures.registry import FIGURES, FigureSpec
from retconv.names import unknown

__all__ = ["FIGURES", "find"]

for _module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if _module.name not in ("__main__", "every", "runner"):  # which draw what is found here
        importlib.import_module(f"retconv.figures.{_module.name}")


def find(names: Sequence[str] = ()) -> list[FigureSpec]:
    """The figures of these names, without repetition, in the order of the gallery.

    If no name is given, all but those that wait for their stored results.

    Raises:
        FiguresError: If a name is unknown, naming the nearest right one.

    Example:
        >>> [spec.name for spec in find(["windows", "szego"])]
        ['windows', 'szego']
    """
    for name in names:
        if name not in FIGURES:
            raise FiguresError(unknown("figure", name, FIGURES))
    if names:
        return [spec for spec in FIGURES.values() if spec.name in names]
    return [spec for spec in FIGURES.values() if not spec.waits_for()]
