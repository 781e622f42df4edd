"""The command ``retconv studies``."""

from __future__ import annotations

from pathlib import Path

import click
import torch
from tqdm import tqdm

from retconv import studies, sweep, train
from retconv.stored import TABLES
from retconv.terminal import NEW_FOLDER, ROOT, SETTINGS, Command, Refusal, allow
from retconv.train.files import TrainError

_HELP = """Write the tables of a study's finished runs, and apply the rules that were written before it ran.

Nothing is trained here. Deleting the runs and the tables, and calling these two commands again, makes both anew:

\b
  retconv sweep cifar_small     trains and measures what is missing (see its --help)
  retconv studies cifar_small   writes study_*.csv, which figures read, and prints the verdicts
\b
A rule is decided when all seeds of its study are there. While some are missing, and where the interval holds the
threshold, the verdict says how many seeds would support or refute it if mean and spread stayed what they are.
\b
Examples:
  retconv studies                         the verdicts, from the tables that there are
  retconv studies cifar_small --partial   from the runs that there are
  retconv studies main --small            the small twin, for CPUs
  retconv studies study.yaml              a study of your own, by its file
  retconv studies --readme                main results as Markdown, beside the published ones: the README's, and all
  retconv studies cifar_small --rules     a study's rules and verdicts as Markdown
"""


@click.command(
    cls=Command,
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 done; 1 runs are missing; 2 no such study.",
)
@click.argument("name", metavar="STUDY", required=False)
@click.option("--small", is_flag=True, help="The study's small twin.")
@click.option("--root", type=ROOT, default=Path("runs"), help="Folder of all runs.")
@click.option(
    "--out",
    type=NEW_FOLDER,
    default=TABLES,
    show_default="the package's own",
    help="Folder of the tables.",
)
@click.option("--partial", is_flag=True, help="Use the runs that there are, though some are missing.")
@click.option(
    "--readme", is_flag=True, help="Print the README's results and all main ones as Markdown, and write nothing."
)
@click.option("--rules", is_flag=True, help="Print rules and verdicts as Markdown, and write nothing.")
def main(name: str | None, small: bool, root: Path, out: Path, partial: bool, readme: bool, rules: bool) -> None:
    """Write a study's tables and apply its rules."""
    if readme:
        allow("readme", "out", on="--readme, which prints the main results")
        click.echo(f"{studies.readme_table(out)}\n\n{studies.results_table(out)}")
        return
    every = {known: sweep.load_study(known) for known in sweep.STUDIES}
    try:
        if name is not None:
            study = sweep.load_study(name, small)
            if name not in sweep.STUDIES and study.name in sweep.STUDIES and out == TABLES:
                raise Refusal(
                    f"{name} is named as a study of the package, whose tables stand there: rename it, or give --out"
                )
            every[study.name] = study
        if rules:
            allow("rules", "name", "out", on="--rules, which prints what the tables hold")
            table = studies.verdicts(out, list(every.values()))
            click.echo(studies.markdown(table if name is None else table[table["study"] == study.name]))
            return
        if name is None:
            allow("out", on="the rules of all studies: name the one whose runs make its tables")
        else:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            with tqdm(total=len(study.configs), unit="run", disable=None) as bar:
                tables = studies.build_tables(
                    study, root, device=device, partial=partial, report=lambda _: bar.update()
                )
            studies.write_tables(tables, out)
        table = studies.verdicts(out, list(every.values()))
        studies.write_tables({"study_verdicts": table}, out)
    except train.RecipeError as error:
        raise Refusal(str(error)) from error
    except TrainError as error:
        raise click.ClickException(str(error)) from error
    click.echo(studies.readable(table if name is None else table[table["study"] == study.name]))


if __name__ == "__main__":
    main(prog_name="python -m retconv.studies")
