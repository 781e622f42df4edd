"""What a figure declares."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.style import freeze, house_style, save

#: The formats a figure is saved in, in the order a gallery links them.
FORMATS = ("png", "pdf", "svg")


class FiguresError(Exception):
    """Something the caller can put right; its message is one line that says how."""


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the gallery. In a notebook it shows itself, drawn anew, with its caption.

    Attributes:
        name: Its name on the command line and of its files.
        title: What it is, in a few words.
        caption: What is seen, in two or three sentences, with the parameter values; of measured results, a function
            that tells it from the table, so that the words cannot outlive the numbers.
        draw: Returns the figure and the tidy table of the data it shows.
        finding: The one-line result, read off that table.
        data: Files of stored results that ``draw`` reads; none for a figure of theory.
    """

    name: str
    title: str
    caption: str | Callable[[pd.DataFrame], str]
    draw: Callable[[], tuple[Figure, pd.DataFrame]]
    finding: Callable[[pd.DataFrame], str]
    data: tuple[Path, ...] = ()

    def text(self, table: pd.DataFrame) -> str:
        """The caption of a table that ``draw`` returned, or that was stored."""
        return self.caption if isinstance(self.caption, str) else self.caption(table)

    def require_data(self) -> None:
        """Check that the stored results are there.

        Raises:
            FiguresError: If a data file is missing, naming it.
        """
        for path in self.data:
            if not path.is_file():
                raise FiguresError(f"figure '{self.name}' needs the data file {path}, which does not exist")

    def _repr_html_(self) -> str:
        self.require_data()
        image = io.BytesIO()
        with house_style():
            figure, table = self.draw()
            freeze(figure)
            save(figure, image, "png")
        data = base64.b64encode(image.getvalue()).decode()
        picture = f'<img alt="{html.escape(self.title)}" width="860" src="data:image/png;base64,{data}">'
        return f"<figure>{picture}<figcaption>{html.escape(self.text(table))}</figcaption></figure>"
