"""What trained models do, measured without training any further: masks, attention, kernels swapped, other sizes.

Everything here needs a run's weights, which are large; so it is measured when a run ends, and kept in its folder.
"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.measure.convolved import convolved_table, merged
    from retconv.measure.measures import measure, measured
    from retconv.measure.model import Trained

lazily(__name__)

__all__ = ["Trained", "convolved_table", "measure", "measured", "merged"]
