"""What the commands of training and sweeps have in common."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from retconv.terminal import POSITIVE
from retconv.train.budget import Budget

F = TypeVar("F", bound=Callable[..., Any])


def meaning(option: dataclasses.Field[Any]) -> str:
    """What an ``option`` field means, with its choices."""
    choices = option.metadata.get("choices")
    return str(option.metadata["help"]) + (f" [{'|'.join(choices)}]" if choices else "")


def _parse_budget(context: click.Context, parameter: click.Parameter, value: float | None) -> Budget:
    # A program gives its own start along as the context's object; whoever calls the command as a function does not.
    begun = context.obj if isinstance(context.obj, float) else time.time()
    return Budget() if value is None else Budget(until=begun + value)


#: ``--budget``, as a ``Budget``.
budget_option: Callable[[F], F] = click.option(
    "--budget",
    type=POSITIVE,
    metavar="SECONDS",
    callback=_parse_budget,
    help="Stop at a checkpoint before so many seconds from the start of this process are over, and begin nothing that "
    "could not reach one; the same command goes on.  [default: no limit]",
)
