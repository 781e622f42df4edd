"""The command ``retconv atlas``."""

from __future__ import annotations

from pathlib import Path

import click
from tqdm import tqdm

from retconv import atlas
from retconv.files import replacing
from retconv.names import unknown
from retconv.terminal import NEW_FILE, SETTINGS, Command

_HELP = """What convolution is your mask? Judge the masks of the field by computation, from their authors' formulas.

Without a name all of them, a line each, as they are stored with the package; with names these, computed now, each with
its formula and source.

\b
Examples:
  retconv atlas
  retconv atlas alibi swin fox
  retconv atlas --compute --out atlas.csv   all of them computed anew
  retconv atlas --page atlas.html           a page with pictures, to be filtered and sorted
"""


@click.command(cls=Command, help=_HELP, context_settings=SETTINGS)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--compute", is_flag=True, help="Compute all of them, instead of reading the stored table.")
@click.option("--out", type=NEW_FILE, help="Write the table to this CSV file.")
@click.option("--page", type=NEW_FILE, help="Write the page to this HTML file.")
def main(names: tuple[str, ...], compute: bool, out: Path | None, page: Path | None) -> None:
    """Judge masks."""
    entries = atlas.ENTRIES
    for name in names:
        if name not in entries:
            raise click.UsageError(unknown("mask", name, entries))
    if names or compute:
        chosen = [entries[name] for name in names or entries]
        table = atlas.table(tqdm(chosen, unit="mask", disable=None if len(chosen) > 1 else True))
    else:
        table = atlas.stored()
    if out is not None:
        _write(out, table.to_csv(index=False))
    if page is not None:
        _write(page, atlas.page(table))
    click.echo(atlas.told(table) if names else atlas.listed(table))


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


if __name__ == "__main__":
    main(prog_name="python -m retconv.atlas")
