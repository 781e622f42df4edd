"""The race against the best of what a user would write or install."""

from retconv.bench.peers.race import command

__all__ = ["command"]
