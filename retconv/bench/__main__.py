"""``retconv bench``: the command line."""

from __future__ import annotations

import click

from retconv.bench.commands import (
    attention,
    fused,
    models,
    operator,
    peers,
    retention,
    steps,
    train,
)
from retconv.terminal import SETTINGS, Group


@click.group(cls=Group, context_settings=SETTINGS)
def main() -> None:
    """Time what the package claims to be fast, side by side in one run.

    Every table gives the median time, the speed-up over a reference as the median of ratios within rounds with its
    quartiles, and n. Commit, versions, processor, threads and allocator setting are printed above it.
    """


for _module in (
    operator,
    retention,
    attention,
    models,
    train,
    steps,
    fused,
    peers,
):
    main.add_command(_module.command)


if __name__ == "__main__":
    main(prog_name="python -m retconv.bench")
