"""What the pages of the site are filled with: figures as they are drawn, runs as they are stored."""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from retconv.figures import FIGURES
from retconv.stored import TABLES, read_runs

DRAWN = Path(__file__).parents[2] / "paper_figures"


def plain(text: str) -> str:
    """Text whose characters mean nothing to Markdown."""
    return re.sub(r"([\\*_`\[\]<>$|])", r"\\\1", text)


def figures() -> Iterator[dict[str, str]]:
    """Those that are drawn, in the order of the gallery, each with the caption that its table tells."""
    for spec in FIGURES.values():
        if (DRAWN / f"{spec.name}.png").is_file():
            table = read_runs(DRAWN / f"{spec.name}.csv")
            yield {"name": spec.name, "title": spec.title, "group": spec.group, "caption": plain(spec.text(table))}


def runs() -> pd.DataFrame:
    """Command, commit and machine of every stored table of times."""
    tables = {path.name: pd.read_csv(path, dtype=str) for path in sorted(TABLES.glob("*.csv"))}
    times = pd.concat({name: rows for name, rows in tables.items() if "processor" in rows}, names=["table", None])
    times = times.reset_index("table")
    device = times["device"].map(lambda name: f", {name}" if name not in ("cpu", "cuda") else "", na_action="ignore")
    times["machine"] = times["processor"] + device.fillna("")
    command = times["command"].str.replace(r" --(out|lock|limit) \S+| --append", "", regex=True)
    times["command"] = command.str.replace("python -m retconv.", "retconv ")
    named = ["table", "command", "commit", "machine", "threads", "torch"]
    rounds = times.groupby(named, sort=False)["n"].agg(lambda n: ", ".join(sorted(set(n.dropna()), key=float)))
    return rounds.reset_index()
