"""The command ``retconv results``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from retconv import results
from retconv.names import unknown
from retconv.terminal import COUNT, FOLDER, NEW_FILE, NEW_FOLDER, ROOT, SETTINGS, STOPPED, Group, Number, Refusal
from retconv.train.files import TrainError, write_whole

_HELP = """Read stored runs back as one table, and carry them from one machine to another.

Without a command, show.

\b
Examples:
  retconv results                                test results of all finished runs below runs/
  retconv results --what metrics --out all.csv   every epoch of every run, with its options
  retconv results pack --out archives            all runs as archives of at most 15 MiB
  retconv results merge archives/*.zip           put what they hold among the runs below runs/
"""
_SHOW = """Read stored runs back as one table.

\b
Examples:
  retconv results show                           test results of all finished runs below runs/
  retconv results show --what metrics --out all.csv   every epoch of every run, with its options
  retconv results show --what kernels --out kernels.csv
  retconv results show --what provenance         where and with what each run was trained
"""
_PACK = """Pack all runs into few archives, each below a size limit.

Of a finished run its configuration, result, measures, metrics, provenance and last kernels; of an unfinished one its
newest checkpoint instead of a result, cut over archives where it is larger than one. Finished runs come first. What is
left out is named.

\b
Examples:
  retconv results pack --out archives
  retconv results pack --out archives --archives 8 --replace      at most 8, instead of those there
  retconv results pack --out archives --add                       finished runs that those there do not hold
"""
_MERGE = """Merge the runs of archives into those below a folder.

All of every archive is checked before anything is written: where its members stand, that they parse without running
code, and that each run is the one that its name says. Of each run the newest step wins; a finished run goes before an
unfinished one, and is never replaced; weights and measures that it lacks are added. The same command again completes
one that was killed.

\b
Example:
  retconv results merge archives/*.zip --root runs
"""


class _Group(Group):
    """Without the name of a command, ``show``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        word = next(iter(args), "-")
        if not word.startswith("-") and word not in self.commands:
            raise click.UsageError(unknown("command", word, self.commands), ctx)
        named = word in (*self.commands, "-h", "--help")
        return super().parse_args(ctx, args if named else ["show", *args])


runs_option = click.option("--root", type=FOLDER, default=Path("runs"), help="Folder of all runs.")


@click.group(cls=_Group, help=_HELP, context_settings=SETTINGS)
def main() -> None:
    """Read stored runs back, and carry them."""


@main.command(help=_SHOW)
@runs_option
@click.option(
    "--what", type=click.Choice(("frame", "metrics", "kernels", "provenance")), default="frame", help="Which table."
)
@click.option("--out", type=NEW_FILE, help="Write it whole to this CSV file.")
def show(root: Path, what: str, out: Path | None) -> None:
    """Read stored runs back as one table."""
    store = results.Store(root)
    for folder, fault in store.damaged(kernels=what == "kernels").items():
        click.echo(f"left out: {folder.name}: {fault}", err=True)
    table = getattr(store, what)()
    if out is not None:
        write_whole(out, table.to_csv(index=False).encode())
    varying = [c for c in table if c == "run" or table[c].map(str).nunique() > 1 or "." not in c]
    if not len(table):
        begun = len(store.runs())
        click.echo(f"no finished runs below {root}, {begun} unfinished" if begun else f"no runs below {root}")
        return
    click.echo(table[varying].to_string(index=False, max_rows=40))


@main.command("pack", help=_PACK, epilog="Exit codes: 0 packed; 1 nothing could be written; 3 runs are left out.")
@runs_option
@click.option("--out", type=NEW_FOLDER, required=True, help="Folder of the archives.")
@click.option("--limit-mib", type=Number(min=0.0625), default=15.0, help="Largest archive, in MiB.")
@click.option("--archives", type=COUNT, help="Most archives; unfinished runs are left out first.")
@click.option("--weights", is_flag=True, help="Include the weights of finished runs.")
@click.option("--replace", is_flag=True, help="Remove the archives of earlier sets from the folder afterwards.")
@click.option("--add", is_flag=True, help="Keep earlier sets; pack finished runs that they do not hold.")
def pack_command(
    root: Path, out: Path, limit_mib: float, archives: int | None, weights: bool, replace: bool, add: bool
) -> None:
    """Pack all runs into few archives."""
    limit = int(limit_mib * 2**20)
    try:
        packed = results.pack(root, out, limit, weights=weights, most=archives, replace=replace, add=add)
    except ValueError as error:
        raise Refusal(str(error)) from error
    except TrainError as error:
        raise click.ClickException(str(error)) from error
    for path in packed.archives:
        click.echo(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")
    for name, fault in packed.left_out.items():
        click.echo(f"left out: {name}: {fault}", err=True)
    for path in packed.kept:
        click.echo(f"not replaced: {path}: it holds what is not below {root}, or cannot be read", err=True)
    click.echo(f"{len(packed.finished)} finished and {len(packed.unfinished)} unfinished runs packed")
    sys.exit(STOPPED if packed.left_out else 0)


@main.command("merge", help=_MERGE, epilog="Exit codes: 0 all merged; 1 something is not whole; 2 refused.")
@click.argument("archives", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--root", type=ROOT, default=Path("runs"), help="Folder of all runs, made if it is not there.")
def merge_command(archives: Sequence[Path], root: Path) -> None:
    """Merge the runs of archives."""
    try:
        merged = results.merge(archives, root)
    except TrainError as error:
        raise Refusal(str(error)) from error
    for fault in merged.faults:
        click.echo(fault, err=True)
    click.echo(f"{len(merged.taken)} runs merged into {root}, {len(merged.kept)} that were there kept")
    sys.exit(bool(merged.faults))


if __name__ == "__main__":
    main(prog_name="python -m retconv.results")
