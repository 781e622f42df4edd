"""What studies show: tables from their runs and what was measured on them, and the verdicts of their rules.

``retconv studies --help`` explains the command.
"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.studies.decision import Decision, decide
    from retconv.studies.readme import readme_table, results_table
    from retconv.studies.rulings import markdown, readable, verdicts
    from retconv.studies.tables import build_tables, load_tables, write_tables

lazily(__name__)

__all__ = [
    "Decision",
    "build_tables",
    "decide",
    "load_tables",
    "markdown",
    "readable",
    "readme_table",
    "results_table",
    "verdicts",
    "write_tables",
]
