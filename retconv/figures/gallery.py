"""The gallery: one page that shows every figure of a folder with its caption, formats and data."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from retconv.figures.registry import FIGURES
from retconv.figures.spec import FORMATS


def gallery(folder: Path) -> str:
    """The page ``index.html`` of a folder: the figures that it holds, drawn now or before.

    Args:
        folder: Where figures were saved.

    Returns:
        HTML with relative links only.
    """
    entries = []
    for spec in FIGURES.values():
        files = [f"{spec.name}.{kind}" for kind in FORMATS if (folder / f"{spec.name}.{kind}").is_file()]
        if files:
            image = next((file for file in files if not file.endswith(".pdf")), None)
            data = f"{spec.name}.csv" if (folder / f"{spec.name}.csv").is_file() else None
            entries.append({"spec": spec, "files": files, "image": image, "data": data})
    environment = Environment(
        loader=PackageLoader("retconv.figures"),
        autoescape=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("index.html").render(entries=entries)
