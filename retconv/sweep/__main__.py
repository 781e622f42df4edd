"""The command ``retconv sweep``."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from pathlib import Path

import click
from tqdm import tqdm

from retconv import results, sweep, train
from retconv.sweep.engines import ENGINES
from retconv.terminal import COUNT, ROOT, SETTINGS, STOPPED, Command, Refusal, allow
from retconv.train.budget import Budget, process_start
from retconv.train.checkpoint import saved_steps
from retconv.train.cli import budget_option, meaning
from retconv.train.config import differences
from retconv.train.folder import RunFolder

_HELP = """Train what is missing of a study's runs, over an engine by name.

STUDY is one of the package by name, or a YAML file. The same study serves every engine. The same command again goes on
with what is missing; a finished run is never repeated, and one that was interrupted goes on from its last checkpoint.
Told to stop, by SIGTERM or Ctrl-C, all workers save a checkpoint first.

\b
A study file:
  hypothesis: A mask helps.            # and the rules that decide it, written before it runs
  rules: [{claim: It does., arm: gmm, against: plain, threshold: 0.3}]
  recipe: standard                     # a recipe by name, or a YAML file
  set: {data.name: cifar100}           # options of all runs
  arms:                                # what is compared
    plain: {model.options.mask: null}
    gmm: {model.options.mask: gmm}
  grid:                                # options that vary
    seed: [0, 1, 2, 3, 4]
  priority: [gmm]                      # arms to be trained first; the others follow as they stand
  stack: 2                             # seeds that train as one stacked model; all without it
  engine: loky                         # serial, loky, dask, ray or slurm
  workers: 2
\b
Examples:
  retconv sweep --list                       the studies of the package
  retconv sweep main --list                  the runs of one, and which are finished
  retconv sweep main                         train what is missing
  retconv sweep main --small                 its small twin, for CPUs
  retconv sweep study.yaml --engine ray      a study of your own, over another engine
  retconv sweep main --budget 600            what ten minutes allow; again to go on
  retconv sweep --options                    every key of a study file, with its meaning
"""


@click.command(
    cls=Command,
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 all runs are finished; 1 some failed; 2 the study cannot be used; 3 some are left, stopped "
    "at a checkpoint by the budget or a signal, or not begun.",
)
@click.argument("name", metavar="STUDY", required=False)
@click.option("--small", is_flag=True, help="The study's small twin, for CPUs.")
@click.option("--root", type=ROOT, default=Path("runs"), help="Folder of all runs.")
@click.option("--engine", type=click.Choice(ENGINES), help="Instead of the study's.")
@click.option("--workers", type=COUNT, help="Instead of the study's.")
@budget_option
@click.option(
    "--list", "listing", is_flag=True, help="List the runs, or without a study the studies, and train nothing."
)
@click.option("--options", "explain", is_flag=True, help="Explain every key of a study file and train nothing.")
def main(
    name: str | None,
    small: bool,
    root: Path,
    engine: str | None,
    workers: int | None,
    budget: Budget,
    listing: bool,
    explain: bool,
) -> None:
    """Train what is missing of a study's runs."""
    if explain:
        allow("explain", on="--options, which explains the keys of every study file")
        for kind, prefix in ((sweep.Study, ""), (sweep.Rule, "rules: ")):
            for key in dataclasses.fields(kind):
                if key.metadata:
                    click.echo(f"  {prefix + key.name:<18}{meaning(key)}")
        return
    if name is None and listing:
        allow("listing", on="a list of all studies: name one")
        width = max(map(len, sweep.STUDIES))
        for study in map(sweep.load_study, sweep.STUDIES):
            click.echo(f"{study.name:<{width}}{len(study.configs):>5} runs  {study.hypothesis}")
        return
    if name is None:
        raise Refusal(f"which study? {', '.join(sweep.STUDIES)}, or the path of a YAML file; --help shows one")
    try:
        study = sweep.load_study(name, small)
    except train.RecipeError as error:
        raise Refusal(str(error)) from error
    study = dataclasses.replace(study, engine=engine or study.engine, workers=workers or study.workers)
    missing = {config.id for config in results.Store(root).missing(study.configs)}
    if listing:
        allow("name", "small", "root", "listing", on="--list, which only lists")
        base = study.configs[0].as_dict()
        for config in study.configs:
            state = "missing " if config.id in missing else "finished"
            changes = ", ".join(line.replace(" against ", " → ") for line in differences(base, config.as_dict()))
            arm = f"{study.arm_of[config.id]}  " if study.arms else ""
            click.echo(f"{config.id}  {state}  {arm}{changes or 'as the first'}")
        click.echo(f"{len(study.configs) - len(missing)} of {len(study.configs)} runs finished in {root}")
        return
    budget = dataclasses.replace(budget, stop_file=root / f".stop-{uuid.uuid4().hex}")
    try:
        with budget.heeding_signals(pass_on=True):
            outcome = sweep.sweep(study, root, tqdm.write, budget)
    except ModuleNotFoundError as error:
        raise Refusal(str(error)) from error
    for config in study.configs:
        if config.id in outcome.left:
            step = max(saved_steps(root / config.id), default=0)
            measurable = RunFolder(root, config).measurable
            state = f"stopped at step {step}" if step else "not measured" if measurable else "not begun"
            arm = f"{study.arm_of[config.id]}  " if study.arms else ""
            click.echo(f"left: {config.id}  {arm}seed {config.seed}: {state}")
    count = f"{len(outcome.finished)} of {len(study.configs)} runs finished in {root}"
    click.echo(f"{count}, {len(outcome.left)} left: the same command goes on" if outcome.left else count)
    if outcome.failures:
        raise click.ClickException("\n".join(f"{run}: {fault}" for run, fault in outcome.failures.items()))
    if outcome.left:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main(prog_name="python -m retconv.sweep", obj=process_start())
