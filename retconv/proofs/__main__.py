"""The command ``retconv proofs``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from retconv import proofs
from retconv.terminal import SETTINGS, Command, allow

_HELP = """Prove the laws by computer algebra, all of them or those of the given NAMES.

A law passes if every step of its proof reduces to exactly 0; otherwise the step that fails is shown with what is left
of it.

\b
Examples:
  retconv proofs                             every law: name, PASS and time
  retconv proofs --list                      what there is
  retconv proofs two_sided_inverse           one law
  retconv proofs --latex two_sided_inverse   its statement and steps, to paste into a paper
"""


def _failures(proof: proofs.Proof) -> list[proofs.Step]:
    return [step for step in proof.steps if step.residual != 0]


def _table_row(proof: proofs.Proof, width: int) -> bool:
    start = time.perf_counter()
    failures = _failures(proof)
    seconds = time.perf_counter() - start
    verdict = click.style("FAIL", fg="red") if failures else click.style("PASS", fg="green")
    click.echo(f"{verdict} {seconds:5.2f} s  law {proof.law:<2}  {proof.name:<{width}}  {proof.title}")
    for step in failures:
        click.echo(f"    {step.reason}\n    left over: {step.residual}")
    return not failures


def _latex(proof: proofs.Proof) -> bool:
    click.echo(proof.to_latex())
    failed = len(_failures(proof))
    click.echo(f"% {proof.name}: {f'FAIL, {failed} steps' if failed else 'PASS'}\n")
    return not failed


@click.command(
    cls=Command,
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 all proved; 1 a step fails; 2 an unknown name.",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listing", is_flag=True, help="List the proofs and run none.")
@click.option("--latex", is_flag=True, help="Print statement and steps as LaTeX.")
def main(names: Sequence[str], listing: bool, latex: bool) -> None:
    """Prove the laws by computer algebra."""
    try:
        chosen = proofs.find(names)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    width = max(map(len, proofs.PROOFS))
    if listing:
        allow("listing", "names", on="--list, which only lists")
        for proof in chosen:
            click.echo(f"law {proof.law:<2}  {proof.name:<{width}}  {proof.title}")
        return
    start = time.perf_counter()
    proved = sum([_latex(proof) if latex else _table_row(proof, width) for proof in chosen])
    if not latex:
        seconds = time.perf_counter() - start
        click.echo(f"{proved} of {len(chosen)} proved, every residual exactly 0, in {seconds:.1f} s")
    if proved < len(chosen):
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m retconv.proofs")
