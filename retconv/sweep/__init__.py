"""Studies: many runs from one file, over an engine by name. ``python -m retconv.sweep --help`` explains the command."""

from retconv.sweep.engines import ENGINES
from retconv.sweep.rule import Rule
from retconv.sweep.run import Outcome, sweep
from retconv.sweep.study import STUDIES, Study, load_study, parse_study

__all__ = ["ENGINES", "STUDIES", "Outcome", "Rule", "Study", "load_study", "parse_study", "sweep"]
