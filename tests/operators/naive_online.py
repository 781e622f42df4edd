"""What a causal kernel makes of tokens, by a double loop over them on Python floats."""

from __future__ import annotations

import math
from collections.abc import Sequence


def convolution(taps: Sequence[float], x: Sequence[Sequence[float]]) -> list[list[float]]:
    """``y_n = Σ_{m ≤ n} h[n − m] x_m`` for each column."""
    return [[math.fsum(taps[n - m] * x[m][c] for m in range(n + 1)) for c in range(len(x[0]))] for n in range(len(x))]
