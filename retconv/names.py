"""Names: those of files of the package, and what to say of one that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.resources.abc import Traversable

#: More names than these are counted, not listed.
LISTED = 50


def yaml_names(folder: Traversable) -> tuple[str, ...]:
    """Names of the YAML files of a folder of the package, in order."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def like(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the known name that is nearest in letters, of either case; empty if none is near."""
    lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"did you mean {lower[close[0]]!r}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the nearest known name, or ``choose from x, y, z`` where none is near."""
    known = list(known)
    if len(known) <= LISTED:
        listed = ", ".join(known)
    elif parts := [word for word in known if name and name.lower() in word.lower()]:
        listed = f"{len(known):,} names, such as {', '.join(parts[:3])}"
    else:
        listed = f"{len(known):,} names, of which none is near"
    return like(name, known) or f"choose from {listed}"


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """The message for a name that is none of the known: ``unknown figure 'windw': did you mean 'windows'?``."""
    return f"unknown {kind} {name!r}: {nearest(str(name), known)}"
