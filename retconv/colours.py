"""The colours of masks and kernels, wherever one is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike

#: Colour map of weights that are nowhere negative, and of signed ones; 0 is white in both.
SEQUENTIAL = sns.cubehelix_palette(start=2.9, rot=0.25, light=1.0, dark=0.12, as_cmap=True)
DIVERGING = sns.color_palette("vlag", as_cmap=True)


def scale(values: ArrayLike, signed: bool) -> dict[str, Any]:
    """Colour map and range for ``imshow``: ``0 … max`` of weights, or ``−max|v| … max|v|`` so that 0 is white."""
    top = float(np.abs(np.asarray(values)).max())
    return {"cmap": DIVERGING if signed else SEQUENTIAL, "norm": Normalize(-top if signed else 0.0, top)}
