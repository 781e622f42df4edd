"""What studies show: tables from their runs and what was measured on them, and the verdicts of their rules.

``python -m retconv.studies --help`` explains the command.
"""

from retconv.studies.decide import Decision, decide
from retconv.studies.tables import build_tables, load_tables, write_tables
from retconv.studies.verdicts import verdicts

__all__ = ["Decision", "build_tables", "decide", "load_tables", "verdicts", "write_tables"]
