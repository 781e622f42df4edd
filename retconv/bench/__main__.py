"""``python -m retconv.bench``: the command line."""

from __future__ import annotations

import click

from retconv.bench import augment, describe, masks, operator, retention, spectrum


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Time what the package claims to be fast, side by side in one run.

    Every table gives the median time, the speed-up over a reference as the median of ratios within rounds with its
    quartiles, and n. Commit, versions, processor, threads and allocator setting are printed above it.
    """


for module in (operator, masks, retention, spectrum, describe, augment):
    main.add_command(module.command)

if __name__ == "__main__":
    main(prog_name="python -m retconv.bench")
