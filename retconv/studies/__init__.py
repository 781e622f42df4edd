"""What studies show: tables from their runs and what was measured on them, and the verdicts of their rules.

``python -m retconv.studies --help`` explains the command.
"""

from retconv.studies.decision import Decision, decide
from retconv.studies.readme import readme_table
from retconv.studies.rulings import markdown, verdicts
from retconv.studies.tables import build_tables, load_tables, write_tables

__all__ = [
    "Decision",
    "build_tables",
    "decide",
    "load_tables",
    "markdown",
    "readme_table",
    "verdicts",
    "write_tables",
]
