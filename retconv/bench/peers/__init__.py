"""The race against the best of what a user would write or install."""

from retconv.bench.peers.markdown import highlights, summary
from retconv.bench.peers.race import PARTS, bench, missing

__all__ = ["PARTS", "bench", "highlights", "missing", "summary"]
