"""Benchmarks: commands that time contenders side by side in one run and report ratios. Never timed tests.

Each benchmark is a module here, and a module of ``commands`` that reads its options.
"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.bench import (
        attention,
        fused,
        models,
        operator,
        peers,
        retention,
        steps,
        train,
    )
    from retconv.bench.reports import report
    from retconv.bench.timing import keep_pages

lazily(__name__)

__all__ = [
    "attention",
    "fused",
    "keep_pages",
    "models",
    "operator",
    "peers",
    "report",
    "retention",
    "steps",
    "train",
]
