"""The command ``retconv train``."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import torch
import yaml
from torch import distributed

from retconv import data, train
from retconv.terminal import DEVICE, ROOT, SETTINGS, STOPPED, THREADS, Command, Count, Number, Refusal, allow
from retconv.train import checkpoint
from retconv.train.budget import Budget, process_start
from retconv.train.cli import budget_option, meaning
from retconv.train.config import RECIPES, Config
from retconv.train.files import TrainError
from retconv.train.folder import RunFolder

_HELP = f"""Train a small ViT by a recipe, and store everything about the run in a folder of its own.

The folder's name is the hash of the resolved recipe. The same command again does nothing if the run is finished, and
goes on from the last checkpoint if it was killed: on a CPU to the same bits. Told to stop, by SIGTERM or Ctrl-C, it
saves a checkpoint first.

\b
Recipes: {", ".join(RECIPES)}, or a YAML file
Examples:
  retconv train --recipe smoke                      handwritten digits, under a minute on two cores
  retconv train --recipe smoke --show               the resolved recipe, as YAML
  retconv train --options                           every option of a recipe, with its meaning
  retconv train --recipe standard --set data.name=cifar100 --set model.options.mask=null
  retconv train --recipe standard --seed 0 --seed 1 --seed 2     three runs as one stacked model
  retconv train --recipe standard --budget 600       what ten minutes allow; again to go on
  torchrun --nproc-per-node 4 -m retconv.train --recipe standard  four processes share each batch
"""


def _explain(kind: type, prefix: str = "") -> Iterator[str]:
    """A line for every option of a configuration: key, default, meaning, choices or range."""
    instance = kind()
    for option in dataclasses.fields(kind):
        value = getattr(instance, option.name)
        if dataclasses.is_dataclass(value):
            yield from _explain(type(value), f"{option.name}.")
            continue
        default = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
        yield f"  {prefix + option.name:<26}{default:<18}{meaning(option)}"


@click.command(
    cls=Command,
    help=_HELP,
    context_settings=SETTINGS,
    epilog="Exit codes: 0 finished; 1 training could not go on; 2 a recipe or option that cannot be used; 3 stopped at "
    "a checkpoint, by the budget or a signal.",
)
@click.option("--recipe", metavar="NAME|FILE", help="A recipe of the package by name, or a YAML file.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Set an option of the recipe; repeatable.")
@click.option("--seed", "seeds", type=Count(0), multiple=True, help="Seed; several train as one stacked model.")
@click.option("--root", type=ROOT, default=Path("runs"), help="Folder of all runs.")
@click.option("--device", type=DEVICE, help="Such as cpu or cuda:1.  [default: a GPU if there is one]")
@click.option("--threads", type=THREADS, help="CPU threads.  [default: torch's]")
@click.option(
    "--checkpoint-seconds",
    type=Number(min=0),
    default=checkpoint.SECONDS,
    help="Between checkpoints; the last step is followed by one.",
)
@budget_option
@click.option("--tensorboard", is_flag=True, help="Also write for TensorBoard, into the run's folder.")
@click.option("--show", is_flag=True, help="Print the resolved recipe and train nothing.")
@click.option("--options", "explain", is_flag=True, help="Explain every option of a recipe and train nothing.")
def main(
    recipe: str | None,
    settings: Sequence[str],
    seeds: Sequence[int],
    root: Path,
    device: str | None,
    threads: int | None,
    checkpoint_seconds: float,
    budget: Budget,
    tensorboard: bool,
    show: bool,
    explain: bool,
) -> None:
    """Train a small ViT by a recipe."""
    if explain:
        allow("explain", on="--options, which explains those of every recipe")
        click.echo("\n".join(_explain(Config)))
        return
    if recipe is None:
        raise Refusal(f"which recipe? --recipe {'|'.join(RECIPES)}, or a YAML file; --help explains")
    try:
        config = train.load(recipe, settings)
    except train.RecipeError as error:
        raise Refusal(str(error)) from error
    configs = [dataclasses.replace(config, seed=seed) for seed in dict.fromkeys(seeds)] or [config]
    if show:
        allow("recipe", "settings", "show", on="--show, which prints the recipe")
        click.echo(yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True).rstrip())
        return
    if threads is not None:
        torch.set_num_threads(threads)
    shared = "RANK" in os.environ
    if shared:
        distributed.init_process_group("nccl" if torch.cuda.is_available() and device != "cpu" else "gloo")
    try:
        with budget.heeding_signals():
            folders = train.train(
                configs,
                root,
                device=device,
                budget=budget,
                checkpoint_seconds=checkpoint_seconds,
                tensorboard=tensorboard,
            )
    except TrainError as error:
        raise click.ClickException(str(error)) from error
    except (ValueError, data.DataNotFoundError, data.CorruptDataError, ModuleNotFoundError) as error:
        raise Refusal(str(error)) from error
    finally:
        if shared:
            distributed.destroy_process_group()
    left = [folder for folder in folders if not folder.finished]
    if int(os.environ.get("RANK", 0)) == 0:
        for folder in folders:
            click.echo(_ending(folder))
        if left:
            click.echo(f"{len(folders) - len(left)} of {len(folders)} runs finished; the same command goes on")
    if left:
        sys.exit(STOPPED)


def _ending(run: RunFolder) -> str:
    """A line on how a run ended."""
    if not run.finished:
        step = max(checkpoint.saved_steps(run.path), default=0)
        where = f"stopped at the checkpoint of step {step}" if step else "not begun"
        return f"seed {run.config.seed}: {where}; {run.path}"
    result = run.result()
    return (
        f"seed {run.config.seed}: test accuracy {result['test_accuracy']:.2%} of {result['test_images']} images, loss "
        f"{result['test_loss']:.3f}, after {result['epochs']} epochs; {run.path}"
    )


if __name__ == "__main__":
    main(prog_name="python -m retconv.train", obj=process_start())
