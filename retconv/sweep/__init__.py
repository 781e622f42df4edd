"""Studies: many runs from one file, over an engine by name. ``python -m retconv.sweep --help`` explains the command."""

from retconv.sweep.engines import ENGINES
from retconv.sweep.run import Outcome, sweep
from retconv.sweep.study import Study, load_study, parse_study

__all__ = ["ENGINES", "Outcome", "Study", "load_study", "parse_study", "sweep"]
