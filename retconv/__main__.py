"""The command ``retconv``: its subcommands are imported when they are asked for."""

from __future__ import annotations

from importlib import import_module

import click

from retconv.names import unknown
from retconv.terminal import SETTINGS, Group

#: The module that has each subcommand as ``command``.
COMMANDS = {"look": "retconv.heads.command"}


class _Commands(Group):
    """Imports a subcommand when it is asked for, and says which name is near an unknown one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            raise click.UsageError(unknown("command", cmd_name, COMMANDS), ctx)
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.group(cls=_Commands, context_settings=SETTINGS)
def main() -> None:
    """Attention seen through convolution.

    More commands are modules: python -m retconv.describe, .atlas, .models, .train, .sweep, .results, .studies,
    .figures, .proofs, .bench.
    """


if __name__ == "__main__":
    main(prog_name="python -m retconv")
