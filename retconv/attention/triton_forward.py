"""Triton's kernel of attention with a kernel table, forward: ``triton_tiles`` says what its arguments are."""

import triton
import triton.language as tl

from retconv.attention.triton_tiles import dot, has_place, logits, place, read, read_mask, write


@triton.jit
def forward(
    q, k, v, table, out, peaks,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_token,
    heads, together, scale,
    LENGTH: tl.constexpr, PREFIX: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, CENTRE: tl.constexpr,
    ENTRIES: tl.constexpr, HEADS: tl.constexpr,
    BEFORE: tl.constexpr, SOFTMAX: tl.constexpr, AFTER: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Some rows of one element, by an online softmax over tiles of keys.

    ``peaks`` get the largest logit of a row, and the sum of exponentials beside it: 0 and 1 if all its keys are hidden.
    Two numbers, and not the logarithm of the sum: next to a large logit that would be rounded away.
    """
    tiles = tl.cdiv(LENGTH, ROWS)
    element = (tl.program_id(0) // tiles).to(tl.int64)
    b = element // heads
    h = element % heads
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    table += (b // together * HEADS + h % HEADS) * ENTRIES
    x = read(q, b * q_batch + h * q_head, q_token, rows, LENGTH, D, BLOCK_D)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, BLOCK_DV], tl.float32)
    for start in range(0, LENGTH, KEYS):
        keys = start + tl.arange(0, KEYS)
        y = read(k, b * k_batch + h * k_head, k_token, keys, LENGTH, D, BLOCK_D)
        scores = dot(x, tl.trans(y)) * scale
        entry = place(keys, PREFIX, N2, N3)[None, :] - place(rows, PREFIX, N2, N3)[:, None] + CENTRE
        placed = has_place(rows, LENGTH, PREFIX)[:, None] & has_place(keys, LENGTH, PREFIX)[None, :]
        m = read_mask(table, entry, placed, BEFORE)
        w = logits(scores, m, keys[None, :] < LENGTH, BEFORE, SOFTMAX)
        if SOFTMAX:
            higher = tl.maximum(top, tl.max(w, 1))
            # Of a row whose keys were all hidden so far, −∞ − (−∞) would be no number.
            shift = tl.where(higher == float("-inf"), 0.0, higher)
            w = tl.exp(w - shift[:, None])
            factor = tl.exp(top - shift)
            total = total * factor + tl.sum(w, 1)
            sums = sums * factor[:, None]
            top = higher
            if AFTER:
                w = w * m
        u = read(v, b * v_batch + h * v_head, v_token, keys, LENGTH, DV, BLOCK_DV)
        sums += dot(w.to(u.dtype), u)
    if SOFTMAX:
        total = tl.where(total == 0.0, 1.0, total)
        sums = sums / total[:, None]
        at = peaks + element * 2 * LENGTH + rows
        tl.store(at, tl.where(top == float("-inf"), 0.0, top), mask=rows < LENGTH)
        tl.store(at + LENGTH, total, mask=rows < LENGTH)
    write(out, b, h, heads, rows, sums, LENGTH, DV, BLOCK_DV)
