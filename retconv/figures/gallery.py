"""The gallery: one page of every figure of a folder, in groups, the picture first, then caption, formats and data."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from retconv.figures.formats import FORMATS
from retconv.figures.registry import GROUPS, FigureSpec
from retconv.stored import read_runs
from retconv.templates import render


def gallery(folder: Path, specs: Iterable[FigureSpec]) -> str:
    """The page ``index.html`` of a folder: the figures that it holds, drawn now or before.

    Args:
        folder: Where figures were saved.
        specs: Those to be filled, of those that it holds.

    Returns:
        HTML with relative links only.
    """
    groups: dict[str, list[dict[str, object]]] = {name: [] for name in GROUPS}
    for spec in specs:
        files = [f"{spec.name}.{kind}" for kind in FORMATS if (folder / f"{spec.name}.{kind}").is_file()]
        if files:
            image = next((file for file in files if not file.endswith(".pdf")), None)
            data = folder / f"{spec.name}.csv"
            entry = {"spec": spec, "files": files, "image": image, "data": data.name if data.is_file() else None}
            groups[spec.group].append(entry | {"caption": _caption(spec, data)})
    filled = [(name, GROUPS[name], entries) for name, entries in groups.items() if entries]
    return render("retconv.figures", "index.html", groups=filled)


def _caption(spec: FigureSpec, data: Path) -> str:
    """The caption, told from the stored table where it depends on that; of that table's absence it says so."""
    if isinstance(spec.caption, str):
        return spec.caption
    if not data.is_file():
        return f"{spec.title}. Its data file is missing: draw it anew."
    file = data.stat()
    return _told(spec, data, (file.st_mtime_ns, file.st_size))


@cache
def _told(spec: FigureSpec, data: Path, written: tuple[int, int]) -> str:
    """From a table of that time and size: the page is made anew after every figure, and most tables stay."""
    return spec.text(read_runs(data))
