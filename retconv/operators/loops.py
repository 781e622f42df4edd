"""The decay recursion as compiled loops: what ``retconv.operators.compiled`` runs where numba is installed.

Arrays are read flat, and each inner loop runs over slices of its own, since only such loops become vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

#: Several threads run the loops. A product and its sum may be rounded once instead of twice, nothing else may change.
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
#: Columns that ``line`` takes at a time, so that its way back finds them in the cache.
BLOCK = 256


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, and keep what is compiled where there is a folder for it."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # there is no folder that could keep what is compiled
        return njit(**OPTIONS)(function)


@jit
def _accumulate(y, row, stride, step, width, weights):  # type: ignore[no-untyped-def]
    """One step of the pass back, ``b_i = x_i + γ b_{i+1}``, in place."""
    gamma, rest = weights[0], weights[1]
    if width == step:
        step = width = stride
    for a in range(row, row + stride, step):
        here, after = y[a : a + width], y[a + stride : a + stride + width]
        for c in range(width):
            here[c] += gamma * after[c] + rest * after[c]


@jit
def _interpolate(y, first, stride, extent, step, width, weights):  # type: ignore[no-untyped-def]
    """The pass forth, ``y_0 = b_0 / (1 + γ)`` and ``y_i = γ y_{i−1} + (1 − γ) b_i``, in place."""
    gamma, rest, share, start = weights[0], weights[1], weights[2], weights[3]
    if width == step:
        step = width = stride
    for a in range(first, first + stride, step):
        here = y[a : a + width]
        for c in range(width):
            here[c] *= start
    for row in range(first + stride, first + extent, stride):
        for a in range(row, row + stride, step):
            here, before = y[a : a + width], y[a - stride : a - stride + width]
            for c in range(width):
                here[c] = share * here[c] + (gamma * before[c] + rest * before[c])


@jit
def grid(start, end, left_column, right_column, signal, out, weights, tokens):  # type: ignore[no-untyped-def]
    """Two-sided decay along up to three axes, each row of the last while it is in the cache.

    Args:
        start: The first of the heads to do.
        end: The one after the last.
        left_column: The first of the columns to do.
        right_column: The one after the last.
        signal: ``(heads, N, columns)``.
        out: Takes the result, likewise.
        weights: ``(heads, 5)``: γ, what rounding took from it, 1 − γ, 1 / (1 + γ), and 1 + γ to the number of axes.
        tokens: Of a row, of a plane and of the grid.
    """
    x, y = signal.reshape(-1), out.reshape(-1)
    step, width = signal.shape[2], right_column - left_column
    row, plane, box = step * tokens[0], step * tokens[1], step * tokens[2]
    for head in range(start, end):
        of = weights[head]
        gamma, rest, scale = of[0], of[1], of[4]
        first = head * box + left_column
        for top in range(first + box - plane, first - 1, -plane):
            for left in range(top + plane - row, top - 1, -row):
                a = left + row - step
                given, here = x[a : a + width], y[a : a + width]
                for c in range(width):
                    here[c] = scale * given[c]
                for a in range(left + row - 2 * step, left - 1, -step):
                    given, here, after = x[a : a + width], y[a : a + width], y[a + step : a + step + width]
                    for c in range(width):
                        here[c] = scale * given[c] + (gamma * after[c] + rest * after[c])
                _interpolate(y, left, step, row, step, width, of)
                if left < top + plane - row:
                    _accumulate(y, left, row, step, width, of)
            if row < plane:
                _interpolate(y, top, row, plane, step, width, of)
            if top < first + box - plane:
                _accumulate(y, top, plane, step, width, of)
        if plane < box:
            _interpolate(y, first, plane, box, step, width, of)


@jit
def line(start, end, left_column, right_column, signal, out, gammas, ways):  # type: ignore[no-untyped-def]
    """Decay along one axis of any length, carried in float64: ``f_i = x_i + γ f_{i−1}``, and ``b_i`` backwards.

    Args:
        start: The first of the rows to do.
        end: The one after the last.
        left_column: The first of the columns to do.
        right_column: The one after the last.
        signal: ``(rows, n, columns)``.
        out: Takes the result, likewise: ``f_i`` or ``b_i``, with both ways the two-sided ``f_i + γ b_{i+1}``.
        gammas: ``(heads,)`` in float64; the rows are shared out among them.
        ways: Whether keys before the query count, and whether keys after it do.
    """
    x, y = signal.reshape(-1), out.reshape(-1)
    step = signal.shape[2]
    box = step * signal.shape[1]
    forth, back = ways
    carry = np.empty(min(BLOCK, right_column - left_column), np.float64)
    for row in range(start, end):
        gamma = gammas[row * gammas.shape[0] // signal.shape[0]]
        for left in range(left_column, right_column, BLOCK):
            width = min(BLOCK, right_column - left)
            first = row * box + left
            if forth:
                carry[:] = 0
                for a in range(first, first + box, step):
                    given, here = x[a : a + width], y[a : a + width]
                    for c in range(width):
                        carry[c] = given[c] + gamma * carry[c]
                        here[c] = carry[c]
            if back:
                carry[:] = 0
                for a in range(first + box - step, first - 1, -step):
                    given, here = x[a : a + width], y[a : a + width]
                    if forth:
                        for c in range(width):
                            after = gamma * carry[c]
                            here[c] += after
                            carry[c] = given[c] + after
                    else:
                        for c in range(width):
                            carry[c] = given[c] + gamma * carry[c]
                            here[c] = carry[c]


@jit
def decode(start, end, q, k, v, out, memory, decay, weight):  # type: ignore[no-untyped-def]
    """``S ← λ S + k vᵀ`` in place and ``o = Σ_r w_r qᵀ S``, token by token.

    Args:
        start: The first to do of the heads of all elements of the batch.
        end: The one after the last.
        q: ``(batch, heads, N, d)``.
        k: ``(batch, heads, N, d)``.
        v: ``(batch, heads, N, e)``.
        out: Takes the outputs, ``(batch, heads, N, e)``.
        memory: ``(batch, heads, order, d, e)``.
        decay: ``(heads, order)``, λ.
        weight: ``(heads, order)``, w.
    """
    heads, order, d, e = memory.shape[1:]
    for each in range(start, end):
        batch, head = each // heads, each % heads
        for n in range(q.shape[2]):
            value, output = v[batch, head, n], out[batch, head, n]
            output[:] = 0
            for r in range(order):
                pole = decay[head, r]
                for i in range(d):
                    key, query = k[batch, head, n, i], weight[head, r] * q[batch, head, n, i]
                    row = memory[batch, head, r, i]
                    for c in range(e):
                        row[c] = pole * row[c] + key * value[c]
                        output[c] += query * row[c]
