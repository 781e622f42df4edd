"""Commands that say in one line what cannot be done; only a bug ends in a traceback."""

from __future__ import annotations

import dis
import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from retconv.extras import lacking
from retconv.terminal.characters import write_any_character

#: Of every command: ``-h`` beside ``--help``, and defaults shown.
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}
#: Exit code of a command that did what it could, with work left.
STOPPED = 3

_PACKAGE = Path(__file__).parent.parent
#: What torch says, as a ``RuntimeError``, of a tensor that does not fit into memory or into its own arithmetic.
_TOO_LARGE = re.compile("allocate memory|out of memory|not enough memory|size calculation overflow")


class Refusal(click.ClickException):
    """What is wrong with what was asked for, without a traceback, and exit code 2."""

    exit_code = 2


class Command(click.Command):
    """Refuses in one line; an option that may be repeated takes several values: ``--only a b``, ``--alpha 0.6 -0.8``.

    Example:
        >>> @click.command(cls=Command)
        ... def main() -> None:
        ...     raise MemoryError("8 GiB for a mask")
        >>> main([], standalone_mode=False)
        Traceback (most recent call last):
        retconv.terminal.guard.Refusal: this does not fit into memory (8 GiB for a mask): ask for less
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program, on any terminal."""
        write_any_character()
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat an option's name before each of its further values: a number with its sign is no option."""
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        expanded: list[str] = []
        current, first = None, False
        for arg in args:
            if arg.startswith("-") and not _is_number(arg):
                name, equals, _ = arg.partition("=")
                current, first = (name if name in several else None), not equals
                expanded.append(arg)
            else:
                expanded += [arg] if current is None or first else [current, arg]
                first = False
        return super().parse_args(ctx, expanded)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn what its user can mend into a refusal."""
        with _refusing(ctx):
            return super().invoke(ctx)


class Group(click.Group):
    """A group of such commands, in the order in which they were added."""

    command_class = Command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program, on any terminal."""
        write_any_character()
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(self.commands)


def allow(*names: str, on: str) -> None:
    """Refuse every option of the running command that was given, but has no effect.

    Args:
        names: Parameters of the command that have one, as its function calls them.
        on: What the others have no effect on, with the remedy.

    Raises:
        click.UsageError: If another one was given.

    Example:
        >>> @click.command(cls=Command)
        ... @click.option("--gamma", type=float)
        ... @click.option("--sigma", type=float)
        ... def main(gamma, sigma):
        ...     allow("sigma", on="a Gaussian, which takes --sigma")
        >>> main(["--gamma", "0.9"], standalone_mode=False)
        Traceback (most recent call last):
        click.exceptions.UsageError: --gamma has no effect on a Gaussian, which takes --sigma
    """
    context = click.get_current_context()
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is ParameterSource.COMMANDLINE and option.name not in names:
            raise click.UsageError(f"{option.opts[0]} has no effect on {on}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def _refusing(context: click.Context) -> Iterator[None]:
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        if (reason := _reason(error, context)) is None:
            raise
        raise Refusal(" ".join(reason.split())) from error


def _reason(error: Exception, context: click.Context) -> str | None:
    """What the user is told of an error; None of a bug."""
    if _is_raised_here(error):
        return str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _TOO_LARGE.search(str(error))):
        return f"this does not fit into memory ({error}): ask for less"
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "retconv":
        return lacking(error.name, str(context.info_name))
    if isinstance(error, UnicodeDecodeError):
        return f"a file is no UTF-8 text ({error}): save it as UTF-8"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return f"cannot write {error.filename or 'it all'}: {error.strerror}; make room, or choose another folder"
    # A pipe that nobody reads any more is none of the command's business.
    if isinstance(error, OSError) and error.filename is not None and error.errno != errno.EPIPE:
        return f"cannot use {error.filename}: {error.strerror}; check the path and its permissions"
    return None


def _is_raised_here(error: Exception) -> bool:
    """Whether a ``raise`` of the package made it: such a text is for the user, and any other error is a bug.

    Of an error that an operation of the same line raised, ``int("x")`` or an index, the last instruction is another.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or isinstance(error, AssertionError | AttributeError):
        return False
    code = last.tb_frame.f_code
    ours = Path(code.co_filename).is_relative_to(_PACKAGE)
    return ours and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
