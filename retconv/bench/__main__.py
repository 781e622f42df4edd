"""``python -m retconv.bench``: the command line."""

from __future__ import annotations

import importlib

import click

#: Modules of this package, each with a ``command``.
COMMANDS = (
    "operator",
    "masks",
    "retention",
    "spectrum",
    "describe",
    "augment",
    "attention",
    "models",
    "train",
    "resume",
    "steps",
    "fused",
    "peers",
)


class _Benchmarks(click.Group):
    """Imports a benchmark when it is asked for, so that those that need an extra do not hold up the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = importlib.import_module(f"retconv.bench.{cmd_name}").command
        except ModuleNotFoundError as error:
            if str(error.name).startswith("retconv"):
                raise
            return _unavailable(cmd_name, f"needs {error.name}, which is not installed: pip install 'retconv[train]'")
        return command


def _unavailable(name: str, reason: str) -> click.Command:
    """A stand-in that help lists and that says what is missing."""

    def refuse() -> None:
        raise click.ClickException(f"{name} {reason}")

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, help=f"Not available: {reason}.", context_settings=settings)


@click.group(cls=_Benchmarks, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Time what the package claims to be fast, side by side in one run.

    Every table gives the median time, the speed-up over a reference as the median of ratios within rounds with its
    quartiles, and n. Commit, versions, processor, threads and allocator setting are printed above it.
    """


if __name__ == "__main__":
    main(prog_name="python -m retconv.bench")
