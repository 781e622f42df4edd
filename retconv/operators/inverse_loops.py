"""The inverse of a decay as one compiled loop: what ``retconv.operators.stencils`` runs where numba is installed."""

from __future__ import annotations

import numpy as np

from retconv.operators.loops import jit


@jit
def stencil(start, end, signal, out, weights, sides, span):  # type: ignore[no-untyped-def]
    """The inverse of a decay along up to three axes at once, three tokens along each, carried in float64.

    Units of work are runs of ``span`` tokens of a row of the last axis: what a unit writes no other one reads.

    Args:
        start: The first of the units to do.
        end: The one after the last.
        signal: ``(heads, N, columns)``.
        out: Takes the result, likewise.
        weights: ``(heads, 4)`` in float64: of a token itself within an axis and at its ends, of the token before it
            and of the one after it.
        sides: Tokens along each of three axes; an axis of one token is left alone.
        span: Tokens of a unit.
    """
    x, y = signal.reshape(-1), out.reshape(-1)
    first, middle, last = sides
    step = signal.shape[2]
    row = last * step
    chunks = -(-last // span)
    gathered = np.empty((span + 2) * step, np.float64)
    for unit in range(start, end):
        line, left = unit // chunks, unit % chunks * span
        rest, b = line // middle, line % middle
        head, a = rest // first, rest % first
        own, edge, before, after = weights[head, 0], weights[head, 1], weights[head, 2], weights[head, 3]
        right = min(left + span, last)
        low, high = max(left - 1, 0), min(right + 1, last)
        width = (high - low) * step
        for c in range(width):
            gathered[c] = 0.0
        for i in range(max(a - 1, 0), min(a + 2, first)):
            of_plane = before
            if i == a:
                of_plane = 1.0 if first == 1 else (edge if a in (0, first - 1) else own)
            for j in range(max(b - 1, 0), min(b + 2, middle)):
                weight = of_plane * before
                if j == b:
                    weight = of_plane * (1.0 if middle == 1 else (edge if b in (0, middle - 1) else own))
                base = ((head * first + i) * middle + j) * row + low * step
                given = x[base : base + width]
                for c in range(width):
                    gathered[c] += weight * given[c]
        origin = line * row
        if last == 1:
            for c in range(step):
                y[origin + c] = gathered[c]
            continue
        if left == 0:
            for c in range(step):
                y[origin + c] = edge * gathered[c] + after * gathered[c + step]
        if right == last:
            at = (last - 1 - low) * step
            for c in range(step):
                y[origin + (last - 1) * step + c] = edge * gathered[at + c] + before * gathered[at - step + c]
        inner, outer = max(left, 1), min(right, last - 1)
        inside = (outer - inner) * step
        if inside > 0:
            here = (inner - low) * step
            past, now = gathered[here - step : here - step + inside], gathered[here : here + inside]
            following = gathered[here + step : here + step + inside]
            result = y[origin + inner * step : origin + outer * step]
            for c in range(inside):
                result[c] = own * now[c] + (before * past[c] + after * following[c])
