"""Studies: many runs from one file, over an engine by name. ``retconv sweep --help`` explains the command."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.sweep.engines import ENGINES
    from retconv.sweep.rule import Rule
    from retconv.sweep.run import Outcome, sweep
    from retconv.sweep.study import STUDIES, Study, load_study, parse_study

lazily(__name__)

__all__ = ["ENGINES", "STUDIES", "Outcome", "Rule", "Study", "load_study", "parse_study", "sweep"]
