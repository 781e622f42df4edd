"""The inverse of a decay as one compiled loop: what ``retconv.operators.stencils`` runs where numba is installed."""

from __future__ import annotations

import numpy as np

from retconv.operators.loops import jit


@jit
def _along(given, base, out, origin, step, left, right, last, weights):  # type: ignore[no-untyped-def]
    """Three tokens of the last axis for each from ``left`` to ``right``; token t is at ``base + t · step``."""
    own, edge, before, after = weights[0], weights[1], weights[2], weights[3]
    if last == 1:
        for c in range(step):
            out[origin + c] = given[base + c]
        return
    if left == 0:
        for c in range(step):
            out[origin + c] = edge * given[base + c] + after * given[base + step + c]
    if right == last:
        end, put = base + (last - 1) * step, origin + (last - 1) * step
        for c in range(step):
            out[put + c] = edge * given[end + c] + before * given[end - step + c]
    first, width = max(left, 1), (min(right, last - 1) - max(left, 1)) * step
    if width > 0:
        here = base + first * step
        past, now, following = (
            given[here - step : here - step + width],
            given[here : here + width],
            given[here + step : here + step + width],
        )
        result = out[origin + first * step : origin + first * step + width]
        for c in range(width):
            result[c] = own * now[c] + (before * past[c] + after * following[c])


@jit
def stencil(start, end, signal, out, weights, sides, span):  # type: ignore[no-untyped-def]
    """The inverse of a decay along up to three axes at once, three tokens along each, carried in float64.

    Units of work are runs of ``span`` tokens of a row of the last axis: what a unit writes no other one reads. What
    the rows beside it add is gathered first, each row read once for each of its neighbours.

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
    row, chunks = last * step, -(-last // span)
    gathered = np.empty((span + 2) * step if middle > 1 else 1, np.float64)
    for unit in range(start, end):
        line, left = unit // chunks, unit % chunks * span
        right = min(left + span, last)
        rest, b = line // middle, line % middle
        head, a = rest // first, rest % first
        of = weights[head]
        origin = line * row
        if middle == 1:
            _along(x, origin, y, origin, step, left, right, last, of)
            continue
        low, high = max(left - 1, 0), min(right + 1, last)
        width = (high - low) * step
        own, beside = of[1] if b in (0, middle - 1) else of[0], of[2]
        # At an end the row itself stands, with weight 0, for the one that is not there.
        up, down = (row if b > 0 else 0), (row if b < middle - 1 else 0)
        for i in range(max(a - 1, 0), min(a + 2, first)):
            scale = beside
            if i == a:
                scale = 1.0 if first == 1 else (of[1] if a in (0, first - 1) else of[0])
            w, w_up = scale * own, scale * beside if up else 0.0
            w_down = scale * beside if down else 0.0
            at = ((head * first + i) * middle + b) * row + low * step
            now, above, below = x[at : at + width], x[at - up : at - up + width], x[at + down : at + down + width]
            if i == max(a - 1, 0):
                for c in range(width):
                    gathered[c] = w * now[c] + (w_up * above[c] + w_down * below[c])
            else:
                for c in range(width):
                    gathered[c] += w * now[c] + (w_up * above[c] + w_down * below[c])
        _along(gathered, -low * step, y, origin, step, left, right, last, of)
