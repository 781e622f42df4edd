"""The command ``retconv figures``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from tqdm import tqdm

from retconv import figures
from retconv.figures.formats import FORMATS, FiguresError
from retconv.names import unknown
from retconv.terminal import NEW_FOLDER, SETTINGS, Command, Refusal, allow

_HELP = """Draw the figures, each from computation, and a gallery of them.

Each figure NAME is saved as NAME.png, NAME.pdf and so on, with the data it shows in NAME.csv; index.html shows all
figures of the folder with captions and links. Two runs give the same bytes. A figure of runs that are not stored yet
waits: --list names it and the command that makes its data.

\b
Examples:
  retconv figures                    every figure, into paper_figures/
  retconv figures --list             what there is, and what waits for data
  retconv figures --only windows     one figure
  retconv figures --only windows underflow --format pdf svg
  retconv figures --out draft        into another folder
"""


def _list() -> None:
    """Names and titles; of figures that wait, what makes their data."""
    width = max(map(len, figures.FIGURES))
    drawn = figures.find()
    for spec in drawn:
        click.echo(f"{spec.name:<{width}}  {spec.title}")
    if waiting := [spec for spec in figures.FIGURES.values() if spec not in drawn]:
        click.echo("\nwait for data, which this makes:")
        for spec in waiting:
            click.echo(f"{spec.name:<{width}}  {spec.command or ', '.join(map(str, spec.data))}")


@click.command(
    cls=Command,
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 all drawn; 2 an unknown name, a folder that cannot be written to, or a missing data file.",
)
@click.option("--list", "listing", is_flag=True, help="List the figures, then those that wait for data; draw nothing.")
@click.option(
    "--only", "names", metavar="NAME...", multiple=True, help="Draw these figures; the others stay as they are."
)
@click.option(
    "--format",
    "formats",
    metavar="FORMAT...",
    multiple=True,
    default=("png", "pdf"),
    help=f"One or several of {', '.join(FORMATS)}; png and pdf if not given.",
)
@click.option(
    "--out",
    type=NEW_FOLDER,
    default=Path("paper_figures"),
    metavar="DIR",
    help="Folder for the figures, made if it does not exist.",
)
def main(listing: bool, names: Sequence[str], formats: Sequence[str], out: Path) -> None:
    """Draw the figures, each from computation, and a gallery of them."""
    if listing:
        allow("listing", on="--list, which lists all figures")
        _list()
        return
    for form in formats:
        if form not in FORMATS:
            raise Refusal(unknown("format", form, FORMATS))
    try:
        specs = figures.find(names)
        # disable=None: no bar where stderr is not a terminal.
        with tqdm(total=len(specs), unit="figure", leave=False, disable=None) as bar:
            for rendered in figures.render(specs, dict.fromkeys(formats), out):
                tqdm.write(str(rendered))
                bar.update()
    except FiguresError as error:
        raise Refusal(str(error)) from error
    click.echo(f"{len(specs)} figure{'s' * (len(specs) != 1)} in {out}; open {out / 'index.html'}")


if __name__ == "__main__":
    main(prog_name="python -m retconv.figures")
