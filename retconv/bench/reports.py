"""Tables of benchmarks, printed and stored with their provenance."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from retconv.files import replacing
from retconv.provenance import provenance

pd.set_option("display.width", 200)


def report(table: pd.DataFrame, allocator: str, out: Path | None, append: bool = False) -> None:
    """Print provenance and table, and write both to a CSV file if asked, on request below the rows that it holds."""
    session = provenance()
    origin = {key: session[key] for key in ("command", "commit", "torch", "python")}
    origin |= {"processor": session["device"], "threads": session["threads"], "allocator": allocator}
    click.echo("\n".join(f"# {key}: {value}" for key, value in origin.items()))
    for _, part in table.groupby([c for c in ("grid", "kind", "part") if c in table], sort=False):
        click.echo("\n" + part.to_string(index=False, float_format=lambda v: f"{v:.3g}", na_rep="-"))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = table.assign(**origin)
        if append and out.exists():
            rows = pd.concat([pd.read_csv(out), rows])
        with replacing(out) as file:
            file.write(rows.to_csv(index=False).encode())
