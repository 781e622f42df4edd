"""The command ``python -m retconv.results``."""

from __future__ import annotations

from pathlib import Path

import click

from retconv.results.store import Store
from retconv.train.files import write_whole

_HELP = """Read stored runs back as one table.

\b
Examples:
  python -m retconv.results                                test results of all finished runs below runs/
  python -m retconv.results --what metrics --out all.csv   every epoch of every run, with its options
  python -m retconv.results --what kernels --out kernels.csv
  python -m retconv.results --what provenance              where and with what each run was trained
"""


@click.command(
    help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}
)
@click.option("--root", type=click.Path(path_type=Path), default=Path("runs"), help="Folder of all runs.")
@click.option(
    "--what", type=click.Choice(("frame", "metrics", "kernels", "provenance")), default="frame", help="Which table."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it whole to this CSV file.")
def main(root: Path, what: str, out: Path | None) -> None:
    """Read stored runs back as one table."""
    store = Store(root)
    for folder in store.damaged():
        click.echo(f"left out: {folder} is not the run that its name says", err=True)
    table = getattr(store, what)()
    if out is not None:
        write_whole(out, lambda file: file.write(table.to_csv(index=False).encode()))
    varying = [c for c in table if c == "run" or table[c].map(str).nunique() > 1 or "." not in c]
    click.echo(table[varying].to_string(index=False, max_rows=40) if len(table) else f"no runs below {root}")


if __name__ == "__main__":
    main(prog_name="python -m retconv.results")
