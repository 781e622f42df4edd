"""What the figures of planted truths share: stored tables, looks and names."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.panels import headline
from retconv.figures.registry import Drawn, FigureSpec, enter, words
from retconv.figures.style import BLUE, GREEN, ORANGE, PURPLE
from retconv.stored import TABLES

#: Colour, marker and name of the families of masks.
FAMILIES = {
    "elm": (ORANGE, "s", "element-wise (ELM)"),
    "table": (GREEN, "^", "kernel table"),
    "gmm": (BLUE, "D", "mixture of two"),
    "decay": (PURPLE, "v", "Manhattan decay"),
}

Plot = Callable[[pd.DataFrame], Figure]


def register(
    name: str,
    place: int,
    columns: list[str],
    message: str,
    finding: Callable[[pd.DataFrame], str],
    numbers: Callable[[pd.DataFrame], dict[str, object]] = lambda data: {},
    tabulate: Callable[[pd.DataFrame], pd.DataFrame] = lambda stored: stored,
) -> Callable[[Plot], Plot]:
    """Enter the figure that the decorated function plots of the table ``planted_NAME.csv``, its message above.

    Args:
        name: Of the task; that of the figure has ``planted_`` before it.
        place: Where in the gallery.
        columns: Of the table.
        message: What is seen, in a line.
        finding: The numbers that show it, read off the table.
        numbers: What of the table stands in the docstring's caption, which the finding and the table's origin follow.
        tabulate: Makes of the stored table the one that is plotted.
    """

    def registered(plot: Plot) -> Plot:
        title, text = words(plot)

        def draw() -> Drawn:
            stored = pd.read_csv(TABLES / f"planted_{name}.csv")[[*columns, "scale", "commit", "torch", "device"]]
            data = tabulate(stored)
            figure = plot(data)
            headline(figure, message, scale(data))
            return figure, data

        def scale(data: pd.DataFrame) -> str:
            return f"{data['seed'].nunique()} seeds, grid {data['grid'].iloc[0]}"

        def caption(data: pd.DataFrame) -> str:
            origin = f"{scale(data)}; stored results of `retconv planted`."
            return f"{text.format(**numbers(data))} Seen: {finding(data)}. {origin}"

        data = (TABLES / f"planted_{name}.csv",)
        enter(FigureSpec(f"planted_{name}", title, caption, draw, finding, data, place=place, group="study"))
        return plot

    return registered
