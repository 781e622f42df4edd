"""Attention of few tokens as compiled loops: what ``retconv.attention.compiled_backend`` runs where numba is installed.

All scores of ``LANES`` queries stand in the cache, a row of scratch for each key, so that every inner loop runs over
queries: no sum runs across a vector, and none is taken in another order. Rows come in fours, which share what is read.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from retconv.operators.loops import jit

#: Queries that are taken at once; a constant, since only then the loops over them become vectors without a check.
LANES = 64
#: They are computed in multiples of so many, of which a vector of any width is a divisor.
VECTOR = 16

#: exp(x) = 2^n exp(r) with |r| ≤ log(2) / 2, n = round(x / log 2), and a polynomial in r (Cephes, expf by S. Moshier).
PER_LOG_2 = np.float32(1.44269504088896341)
#: log 2 in two parts, of which the first has so few bits that n times it is exact.
LOG_2, REST = np.float32(0.693359375), np.float32(-2.12194440e-4)
C2, C3, C4, C5, C6, C7 = (
    np.float32(c)
    for c in (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4)
)
#: 1.5 · 2^23: a small number added to it is rounded to an integer, which then stands in the last bits of the sum.
ROUNDER = np.float32(12582912)
#: Below, exp is taken to be 0; 2^n has a float32 of its own down to n = −126.
LOWEST = np.float32(-87)
ZERO, ONE, LEAST = np.float32(0), np.float32(1), np.finfo(np.float32).min


@jit
def exp(x):  # type: ignore[no-untyped-def]
    """The exponential of x ≤ 0, within a unit of the last place; of NaN it is NaN."""
    bits = x * PER_LOG_2 + ROUNDER
    n = bits - ROUNDER
    r = (x - n * LOG_2) - n * REST
    power = ((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
    power = power * (r * r) + r + ONE
    # The exponent of a float32 stands above its 23 bits of fraction, and 127 means 2^0.
    exponent = np.int32(np.float32(bits).view(np.int32) + np.int32(127))
    return ZERO if x < LOWEST else power * np.int32(exponent << np.int32(23)).view(np.float32)


@jit
def _larger(a, b):  # type: ignore[no-untyped-def]
    return a if a > b else b


@jit
def _product(rows, depth, weights, step, along, x, y, width):  # type: ignore[no-untyped-def]
    """``y[r] = Σ_t weights[r · step + t · along] x[t]`` for rows of ``LANES``, by tiles of four by four."""
    step, along = uint64(step), uint64(along)  # an unsigned index is never taken to count from the end
    twice, thrice = along + along, along + along + along
    for r in range(0, rows, 4):
        out = y[r * LANES : (r + 4) * LANES]
        out[:] = 0
        for t in range(0, depth, 4):
            given = x[t * LANES : (t + 4) * LANES]
            a = uint64(r) * step + uint64(t) * along
            # A function for these fours of weights would cost a fifth to a third of the time.
            a0, a1, a2, a3 = weights[a], weights[a + along], weights[a + twice], weights[a + thrice]
            a += step
            b0, b1, b2, b3 = weights[a], weights[a + along], weights[a + twice], weights[a + thrice]
            a += step
            c0, c1, c2, c3 = weights[a], weights[a + along], weights[a + twice], weights[a + thrice]
            a += step
            d0, d1, d2, d3 = weights[a], weights[a + along], weights[a + twice], weights[a + thrice]
            for i in range(width):
                x0, x1, x2, x3 = given[i], given[i + LANES], given[i + 2 * LANES], given[i + 3 * LANES]
                out[i] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[i + LANES] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                out[i + 2 * LANES] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                out[i + 3 * LANES] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@jit
def _weigh(scores, mask, largest, total, keys, width, before, softmax, after):  # type: ignore[no-untyped-def]
    """What a placement makes of scores, in place, but for dividing by the sums of a softmax, which ``total`` takes."""
    real = keys * LANES
    if before == 1:
        for a in range(real):
            scores[a] *= mask[a]
    elif before == 2:
        for a in range(real):
            scores[a] += mask[a]
    if not softmax:
        total[:] = 1
        return
    scores[real:] = -np.inf
    # A sum with −∞ may be −∞ in a whole row, which then has no weights; a product is −∞ by an overflow only.
    largest[:] = LEAST if before == 2 else -np.inf
    total[:] = 0
    for at in range(0, scores.shape[0], 4 * LANES):
        four = scores[at : at + 4 * LANES]
        for i in range(width):
            pair = _larger(four[i], four[i + LANES]), _larger(four[i + 2 * LANES], four[i + 3 * LANES])
            largest[i] = _larger(_larger(pair[0], pair[1]), largest[i])
    for at in range(0, scores.shape[0], 4 * LANES):
        four = scores[at : at + 4 * LANES]
        for i in range(width):
            most = largest[i]
            w0, w1 = exp(four[i] - most), exp(four[i + LANES] - most)
            w2, w3 = exp(four[i + 2 * LANES] - most), exp(four[i + 3 * LANES] - most)
            four[i], four[i + LANES], four[i + 2 * LANES], four[i + 3 * LANES] = w0, w1, w2, w3
            total[i] += (w0 + w1) + (w2 + w3)
    if after:
        for a in range(real):
            scores[a] *= mask[a]
    for i in range(width):
        total[i] = ONE / total[i] if total[i] != ZERO else ZERO


@jit
def _spread(mask, table, queries, keys, prefix, neutral):  # type: ignore[no-untyped-def]
    """Entries of a head, ``M[q, k] = table[queries[q] + keys[k]]``, as ``(blocks, N, LANES)``: keys by queries."""
    mask[:] = neutral
    for block in range(mask.shape[0]):
        first = max(block * LANES, prefix)
        here = queries[first - prefix : max((block + 1) * LANES - prefix, 0)]
        for j in range(keys.shape[0]):
            row, at = mask[block, prefix + j, first - block * LANES :], keys[j]
            for i in range(here.shape[0]):
                row[i] = table[uint64(at + here[i])]


@jit
def attend(start, end, qkv, strides, out, tables, places, prefix, neutral, rules, scale):  # type: ignore[no-untyped-def]
    """The outputs of elements of (heads · batch).

    Args:
        start: The first of the elements to do.
        end: The one after the last.
        qkv: Memory of queries, keys and values, each from its first entry on.
        strides: Of each: from one element of the batch to the next, from head to head, and from token to token, whose
            channels lie side by side.
        out: Takes the result, ``(batch, heads, N, d_v)``.
        tables: Entries of the masks that act, ``(heads or 1, entries)``.
        places: Where an entry stands: that of a query and a key is the sum of theirs.
        prefix: Tokens in front that have no place.
        neutral: Entry of such.
        rules: What the mask does to scores (0 nothing, 1 multiplies, 2 is added), whether there is a softmax, whether
            the mask multiplies weights, and the channels of a query.
        scale: Of the scores.
    """
    q, k, v = qkv
    of_q, of_k, of_v = strides
    before, softmax, after, d = rules
    batch, _, size, e = out.shape
    factor = np.float32(scale)
    # Channels and keys are filled up to fours with zeros, which add nothing.
    deep, wide, many = -(-d // 4) * 4, -(-e // 4) * 4, -(-size // 4) * 4
    keys, values = np.zeros((many, deep), np.float32), np.zeros((many, wide), np.float32)
    queries, mixed = np.zeros(deep * LANES, np.float32), np.zeros(wide * LANES, np.float32)
    scores = np.zeros(many * LANES, np.float32)
    mask = np.empty((-(-size // LANES), size, LANES), np.float32)
    largest, total = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    spread = -1
    for each in range(start, end):
        head, element = each // batch, each % batch
        if spread != min(head, tables.shape[0] - 1):
            spread = min(head, tables.shape[0] - 1)
            _spread(mask, tables[spread], places[0], places[1], prefix, np.float32(neutral))
        for j in range(size):
            a = element * of_k[0] + head * of_k[1] + j * of_k[2]
            given, row = k[a : a + d], keys[j]
            for c in range(d):
                row[c] = given[c]
            a = element * of_v[0] + head * of_v[1] + j * of_v[2]
            given, row = v[a : a + e], values[j]
            for c in range(e):
                row[c] = given[c]
        for block in range(mask.shape[0]):
            first = block * LANES
            count = min(LANES, size - first)
            width = -(-count // VECTOR) * VECTOR
            for i in range(count):
                a = element * of_q[0] + head * of_q[1] + (first + i) * of_q[2]
                given = q[a : a + d]
                for c in range(d):
                    queries[c * LANES + i] = given[c] * factor
            _product(many, deep, keys.reshape(-1), deep, 1, queries, scores, width)
            _weigh(scores, mask[block].reshape(-1), largest, total, size, width, before, softmax, after)
            _product(wide, many, values.reshape(-1), 1, wide, scores, mixed, width)
            for i in range(count):
                result, share = out[element, head, first + i], total[i]
                for c in range(e):
                    result[c] = mixed[c * LANES + i] * share
