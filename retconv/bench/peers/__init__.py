"""The race against the best of what a user would write or install."""

from retconv.bench.peers.race import PARTS, bench, missing
from retconv.bench.peers.summary import summary

__all__ = ["PARTS", "bench", "missing", "summary"]
