"""What of the figures a command needs before it draws any."""

from __future__ import annotations

#: The formats a figure is saved in, in the order a gallery links them.
FORMATS = ("png", "pdf", "svg")


class FiguresError(Exception):
    """Something the caller can put right; its message is one line that says how."""
