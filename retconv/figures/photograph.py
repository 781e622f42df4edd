"""The photograph that stands for an image: Grace Hopper, as shipped with matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

#: The file, 512×606 pixels, RGB; in the public domain.
PHOTOGRAPH = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def photograph(side: int, grey: bool = False) -> np.ndarray:
    """The upper square of the photograph, reduced to ``side`` pixels.

    Args:
        side: Pixels along each side.
        grey: Whether to return luminance.

    Returns:
        float64 ``(side, side, 3)``, or ``(side, side)`` if grey, in [0, 1].
    """
    with Image.open(PHOTOGRAPH) as image:
        edge = min(image.size)
        square = image.convert("L" if grey else "RGB").crop((0, 0, edge, edge))
    # A box filter averages whole pixels, which every version of Pillow does alike.
    return np.asarray(square.resize((side, side), Image.Resampling.BOX), dtype=np.float64) / 255
