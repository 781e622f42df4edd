"""What all commands share: one guard against tracebacks, kinds of values, and text that any terminal can show."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.terminal.guard import SETTINGS, STOPPED, Command, Group, Refusal, allow
    from retconv.terminal.values import (
        COUNT,
        DEVICE,
        FOLDER,
        FRACTION,
        GRID,
        NEW_FILE,
        NEW_FOLDER,
        NUMBER,
        POSITIVE,
        ROOT,
        THREADS,
        Count,
        NewFile,
        Number,
    )

lazily(__name__)

__all__ = [
    "COUNT",
    "DEVICE",
    "FOLDER",
    "FRACTION",
    "GRID",
    "NEW_FILE",
    "NEW_FOLDER",
    "NUMBER",
    "POSITIVE",
    "ROOT",
    "SETTINGS",
    "STOPPED",
    "THREADS",
    "Command",
    "Count",
    "Group",
    "NewFile",
    "Number",
    "Refusal",
    "allow",
]
