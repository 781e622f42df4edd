"""The command ``retconv``: its subcommands are imported when they are asked for, and its help needs none."""

from __future__ import annotations

from importlib import import_module

import click

from retconv.names import unknown
from retconv.terminal import SETTINGS, Group
from retconv.train.budget import process_start

#: By name of a subcommand, the module and name of the click command, and what it does.
COMMANDS = {
    "describe": ("retconv.describe:main", "What a mask does on a grid: locality, spectrum, bounds."),
    "atlas": ("retconv.atlas.__main__:main", "What convolution is your mask? The masks of the field, judged."),
    "look": ("retconv.heads.command:command", "What convolution is each head of a vision transformer?"),
    "models": (
        "retconv.models.__main__:main",
        "The small models and their sizes; which models take masks.",
    ),
    "figures": ("retconv.figures.__main__:main", "Draw the figures, each from computation, and a gallery of them."),
    "proofs": ("retconv.proofs.__main__:main", "Prove the laws by computer algebra."),
    "train": ("retconv.train.__main__:main", "Train a small ViT by a recipe; the same command goes on."),
    "sweep": ("retconv.sweep.__main__:main", "Train what is missing of a study's runs."),
    "studies": ("retconv.studies.__main__:main", "Tables and verdicts of a study's finished runs."),
    "results": ("retconv.results.__main__:main", "Stored runs as one table; pack and merge carry them."),
    "measure": ("retconv.measure.__main__:main", "How accurate trained models are with ever more heads convolved."),
    "planted": ("retconv.planted.__main__:main", "Learn what was planted, against bounds that theory gives."),
    "bench": ("retconv.bench.__main__:main", "Time what the package claims to be fast, side by side."),
}


class _Commands(Group):
    """Imports a subcommand when it is asked for, and says which name is near an unknown one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            raise click.UsageError(unknown("command", cmd_name, COMMANDS), ctx)
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings=SETTINGS)
@click.version_option(package_name="retconv")
@click.pass_context
def main(context: click.Context) -> None:
    """Attention seen through convolution.

    Each command has its own --help. Most are modules too: retconv train is python -m retconv.train.
    """
    context.obj = process_start()


if __name__ == "__main__":
    main(prog_name="python -m retconv")
