"""What trained models do, measured without training any further: masks, attention, kernels swapped, other sizes.

Everything here needs a run's weights, which are large; so it is measured when a run ends, and kept in its folder.
"""

from retconv.measure.measures import measure, measured
from retconv.measure.model import Trained

__all__ = ["Trained", "measure", "measured"]
