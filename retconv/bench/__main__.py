"""``retconv bench``: the command line."""

from __future__ import annotations

from typing import Any

import click

from retconv.bench.commands import (
    attention,
    augment,
    describe,
    fused,
    masks,
    models,
    operator,
    peers,
    resume,
    retention,
    spectrum,
    steps,
    train,
)
from retconv.extras import lacking


class _Benchmarks(click.Group):
    """Lists benchmarks in the order in which they were added, and names the extra that one needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if not error.name or error.name.startswith("retconv"):
                raise
            raise click.ClickException(lacking(error.name, str(ctx.invoked_subcommand))) from error


@click.group(cls=_Benchmarks, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Time what the package claims to be fast, side by side in one run.

    Every table gives the median time, the speed-up over a reference as the median of ratios within rounds with its
    quartiles, and n. Commit, versions, processor, threads and allocator setting are printed above it.
    """


for _module in (
    operator,
    masks,
    retention,
    spectrum,
    describe,
    augment,
    attention,
    models,
    train,
    resume,
    steps,
    fused,
    peers,
):
    main.add_command(_module.command)


if __name__ == "__main__":
    main(prog_name="python -m retconv.bench")
