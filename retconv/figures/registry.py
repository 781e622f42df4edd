"""What a figure declares, and those that were declared in the order of the gallery."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from retconv.ambient import threads
from retconv.figures.formats import FiguresError
from retconv.figures.style import SCREEN, freeze, house_style, save

#: A figure and the tidy table of the data it shows.
Drawn = tuple[Figure, pd.DataFrame]

#: The groups of the gallery, in its order, and what their figures come from.
GROUPS = {"theory": "computed from the mathematics", "speed": "measured times", "study": "trained models"}


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
        command: What makes these files, if a command does.
        suffices: Whether the files, all there, hold enough to draw.
        place: Where in its group it stands: figures are in ascending order, those of one place as they were entered.
        group: Where in the gallery: one of ``GROUPS``.

    Example:
        >>> retconv.figures.FIGURES["windows"].title
        'A row of the mask is a window of the kernel'
    """

    name: str
    title: str
    caption: str | Callable[[pd.DataFrame], str]
    draw: Callable[[], Drawn]
    finding: Callable[[pd.DataFrame], str]
    data: tuple[Path, ...] = ()
    command: str = ""
    suffices: Callable[[], bool] = lambda: True
    place: int = 0
    group: str = "theory"

    def text(self, table: pd.DataFrame) -> str:
        """The caption of a table that ``draw`` returned, or that was stored."""
        return self.caption if isinstance(self.caption, str) else self.caption(table)

    def waits_for(self) -> str:
        """The stored results that it lacks and how to make them; empty if it can be drawn."""
        remedy = f": make it with {self.command}" if self.command else ""
        for path in self.data:
            if not path.is_file():
                return f"the data file {path}, which does not exist{remedy}"
        return "" if self.suffices() else f"more runs than {self.data[0]} holds{remedy}"

    def require_data(self) -> None:
        """Check that the stored results are there.

        Raises:
            FiguresError: If a data file is missing or holds too little, naming it and the command that makes it.
        """
        if waits := self.waits_for():
            raise FiguresError(f"figure '{self.name}' needs {waits}")

    @contextmanager
    def drawn(self) -> Iterator[Drawn]:
        """Figure and table, drawn in the style in which the figure is to be saved.

        With one thread sums are split in one way, and rounding errors, which some figures show, are always the same.
        """
        with house_style(), threads(1):
            figure, table = self.draw()
            freeze(figure)
            yield figure, table

    def _ipython_display_(self) -> None:
        """Two outputs, a picture and its words: so pages that clean HTML, as GitHub's, show both."""
        from IPython.display import Image, Markdown, display

        if self.waits_for():
            display(Markdown(f"*Not drawn yet:* figure `{self.name}` waits for `{self.command or self.data[0].name}`."))
            return
        image = io.BytesIO()
        with self.drawn() as (figure, table):
            save(figure, image, "png", SCREEN)
        display(Image(image.getvalue(), alt=self.title), Markdown(f"**{self.title}**\n\n{self.text(table)}"))


#: Those of the modules that are imported, by name, in the order of the gallery; ``every`` imports all.
FIGURES: dict[str, FigureSpec] = {}


def enter(spec: FigureSpec) -> None:
    """Put a figure into the gallery, at its place in its group."""
    FIGURES[spec.name] = spec
    ordered = sorted(FIGURES.values(), key=lambda entered: ([*GROUPS].index(entered.group), entered.place))
    FIGURES.clear()
    FIGURES.update((entered.name, entered) for entered in ordered)


def words(function: Callable) -> tuple[str, str]:
    """Title and caption that a function's docstring gives: its first line without the period, and what follows."""
    title, _, caption = inspect.cleandoc(function.__doc__ or function.__name__).partition("\n\n")
    return title.removesuffix("."), " ".join(caption.split())


def register(
    name: str,
    place: int,
    finding: Callable[[pd.DataFrame], str],
    data: tuple[Path, ...] = (),
    group: str = "theory",
) -> Callable[[Callable[[], Drawn]], Callable[[], Drawn]]:
    """Enter the figure that the decorated function draws; its docstring gives title and caption.

    Args:
        name: The figure's.
        place: Where in its group.
        finding: Its one-line result, read off the table.
        data: Files of stored results that it reads.
        group: Of the gallery.
    """

    def registered(draw: Callable[[], Drawn]) -> Callable[[], Drawn]:
        enter(FigureSpec(name, *words(draw), draw, finding, data, place=place, group=group))
        return draw

    return registered
