"""Triton's kernels of attention with a kernel table, backward: ``triton_tiles`` says what their arguments are.

Tiles of scores are computed again. Queries, keys and the mask have kernels of their own, since each sums tiles along
another axis: a row of tiles, a column, or one place of them over the batch. Where one tile has all tokens the kernel of
the mask does the work of all three.
"""

import triton
import triton.language as tl

from retconv.attention.triton_tiles import derive, dot, has_place, place, read, read_mask, read_peaks, write


@triton.jit
def backward_queries(
    q, k, v, table, out, grad, peaks, means, dq,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_token,
    out_batch, out_head, out_token, grad_batch, grad_head, grad_token,
    heads, together, scale,
    LENGTH: tl.constexpr, PREFIX: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, CENTRE: tl.constexpr,
    ENTRIES: tl.constexpr, HEADS: tl.constexpr,
    BEFORE: tl.constexpr, SOFTMAX: tl.constexpr, AFTER: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Gradients of some queries of one element, and for the other kernels ``means``, ``rowsum(dO ⊙ O)``."""
    tiles = tl.cdiv(LENGTH, ROWS)
    element = (tl.program_id(0) // tiles).to(tl.int64)
    b = element // heads
    h = element % heads
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    table += (b // together * HEADS + h % HEADS) * ENTRIES
    x = read(q, b * q_batch + h * q_head, q_token, rows, LENGTH, D, BLOCK_D)
    g = read(grad, b * grad_batch + h * grad_head, grad_token, rows, LENGTH, DV, BLOCK_DV)
    top = tl.zeros([ROWS], tl.float32)
    share = tl.zeros([ROWS], tl.float32)
    mean = tl.zeros([ROWS], tl.float32)
    if SOFTMAX:
        o = read(out, b * out_batch + h * out_head, out_token, rows, LENGTH, DV, BLOCK_DV)
        mean = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
        tl.store(means + element * LENGTH + rows, mean, mask=rows < LENGTH)
        top, share = read_peaks(peaks, element, rows, LENGTH)
    sums = tl.zeros([ROWS, BLOCK_D], tl.float32)
    for start in range(0, LENGTH, KEYS):
        keys = start + tl.arange(0, KEYS)
        y = read(k, b * k_batch + h * k_head, k_token, keys, LENGTH, D, BLOCK_D)
        u = read(v, b * v_batch + h * v_head, v_token, keys, LENGTH, DV, BLOCK_DV)
        scores = dot(x, tl.trans(y)) * scale
        entry = place(keys, PREFIX, N2, N3)[None, :] - place(rows, PREFIX, N2, N3)[:, None] + CENTRE
        placed = has_place(rows, LENGTH, PREFIX)[:, None] & has_place(keys, LENGTH, PREFIX)[None, :]
        m = read_mask(table, entry, placed, BEFORE)
        d = dot(g, tl.trans(u))
        seen = keys[None, :] < LENGTH
        _, ds, _ = derive(scores, m, d, seen, top[:, None], share[:, None], mean[:, None], BEFORE, SOFTMAX, AFTER)
        sums += dot(ds.to(y.dtype), y)
    write(dq, b, h, heads, rows, sums * scale, LENGTH, D, BLOCK_D)


@triton.jit
def backward_keys(
    q, k, v, table, grad, peaks, means, dk, dv,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_token,
    grad_batch, grad_head, grad_token,
    heads, together, scale,
    LENGTH: tl.constexpr, PREFIX: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, CENTRE: tl.constexpr,
    ENTRIES: tl.constexpr, HEADS: tl.constexpr,
    BEFORE: tl.constexpr, SOFTMAX: tl.constexpr, AFTER: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Gradients of some keys and values of one element; tiles are transposed, as these sums want them."""
    tiles = tl.cdiv(LENGTH, KEYS)
    element = (tl.program_id(0) // tiles).to(tl.int64)
    b = element // heads
    h = element % heads
    keys = tl.program_id(0) % tiles * KEYS + tl.arange(0, KEYS)
    table += (b // together * HEADS + h % HEADS) * ENTRIES
    y = read(k, b * k_batch + h * k_head, k_token, keys, LENGTH, D, BLOCK_D)
    u = read(v, b * v_batch + h * v_head, v_token, keys, LENGTH, DV, BLOCK_DV)
    key_sums = tl.zeros([KEYS, BLOCK_D], tl.float32)
    value_sums = tl.zeros([KEYS, BLOCK_DV], tl.float32)
    for start in range(0, LENGTH, ROWS):
        rows = start + tl.arange(0, ROWS)
        x = read(q, b * q_batch + h * q_head, q_token, rows, LENGTH, D, BLOCK_D)
        g = read(grad, b * grad_batch + h * grad_head, grad_token, rows, LENGTH, DV, BLOCK_DV)
        top = tl.zeros([ROWS], tl.float32)
        share = tl.zeros([ROWS], tl.float32)
        mean = tl.zeros([ROWS], tl.float32)
        if SOFTMAX:
            mean = tl.load(means + element * LENGTH + rows, mask=rows < LENGTH, other=0.0)
            top, share = read_peaks(peaks, element, rows, LENGTH)
        scores = dot(y, tl.trans(x)) * scale
        entry = place(keys, PREFIX, N2, N3)[:, None] - place(rows, PREFIX, N2, N3)[None, :] + CENTRE
        placed = has_place(keys, LENGTH, PREFIX)[:, None] & has_place(rows, LENGTH, PREFIX)[None, :]
        m = read_mask(table, entry, placed, BEFORE)
        d = dot(u, tl.trans(g))
        seen = keys[:, None] < LENGTH
        w, ds, _ = derive(scores, m, d, seen, top[None, :], share[None, :], mean[None, :], BEFORE, SOFTMAX, AFTER)
        value_sums += dot(w.to(g.dtype), g)
        key_sums += dot(ds.to(x.dtype), x)
    write(dk, b, h, heads, keys, key_sums * scale, LENGTH, D, BLOCK_D)
    write(dv, b, h, heads, keys, value_sums, LENGTH, DV, BLOCK_DV)


@triton.jit
def backward_mask(
    q, k, v, table, out, grad, peaks, means, dq, dk, dv, dtable,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_token,
    out_batch, out_head, out_token, grad_batch, grad_head, grad_token,
    heads, together, scale, shares,
    LENGTH: tl.constexpr, PREFIX: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr, CENTRE: tl.constexpr,
    ENTRIES: tl.constexpr, HEADS: tl.constexpr,
    BEFORE: tl.constexpr, SOFTMAX: tl.constexpr, AFTER: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_DV: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, WHOLE: tl.constexpr, LEARNT: tl.constexpr,
):  # fmt: skip
    """One tile of the gradient of a mask, summed over a share of the elements that it serves, and added to its table.

    The sum over a share is in registers: so few additions to the table are left that they may be atomic.

    A tile that is ``WHOLE`` has all tokens: the gradients of queries, keys and values of those elements come with it,
    and that of the mask unless it is not ``LEARNT``.
    """
    columns = tl.cdiv(LENGTH, KEYS)
    tiles = tl.cdiv(LENGTH, ROWS) * columns
    tile = tl.program_id(0) % tiles
    mask = (tl.program_id(0) // tiles // shares).to(tl.int64)
    # A mask with several heads serves the elements of one, else those of all.
    served = heads // HEADS
    elements = together * served
    part = tl.program_id(0) // tiles % shares
    rows = tile // columns * ROWS + tl.arange(0, ROWS)
    keys = tile % columns * KEYS + tl.arange(0, KEYS)
    entry = place(keys, PREFIX, N2, N3)[None, :] - place(rows, PREFIX, N2, N3)[:, None] + CENTRE
    placed = has_place(rows, LENGTH, PREFIX)[:, None] & has_place(keys, LENGTH, PREFIX)[None, :]
    seen = keys[None, :] < LENGTH
    m = read_mask(table + mask * ENTRIES, entry, placed, BEFORE)
    sums = tl.zeros([ROWS, KEYS], tl.float32)
    for i in range(elements * part // shares, elements * (part + 1) // shares):
        b = mask // HEADS * together + i // served
        h = mask % HEADS + i % served
        x = read(q, b * q_batch + h * q_head, q_token, rows, LENGTH, D, BLOCK_D)
        y = read(k, b * k_batch + h * k_head, k_token, keys, LENGTH, D, BLOCK_D)
        u = read(v, b * v_batch + h * v_head, v_token, keys, LENGTH, DV, BLOCK_DV)
        g = read(grad, b * grad_batch + h * grad_head, grad_token, rows, LENGTH, DV, BLOCK_DV)
        top = tl.zeros([ROWS], tl.float32)
        share = tl.zeros([ROWS], tl.float32)
        mean = tl.zeros([ROWS], tl.float32)
        if SOFTMAX:
            top, share = read_peaks(peaks, b * heads + h, rows, LENGTH)
            if WHOLE:
                o = read(out, b * out_batch + h * out_head, out_token, rows, LENGTH, DV, BLOCK_DV)
                mean = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
            else:
                mean = tl.load(means + (b * heads + h) * LENGTH + rows, mask=rows < LENGTH, other=0.0)
        scores = dot(x, tl.trans(y)) * scale
        d = dot(g, tl.trans(u))
        w, ds, dm = derive(scores, m, d, seen, top[:, None], share[:, None], mean[:, None], BEFORE, SOFTMAX, AFTER)
        if LEARNT:
            sums += dm
        if WHOLE:
            ds = ds.to(x.dtype)
            write(dv, b, h, heads, keys, dot(tl.trans(w.to(g.dtype)), g), LENGTH, DV, BLOCK_DV)
            write(dq, b, h, heads, rows, dot(ds, y) * scale, LENGTH, D, BLOCK_D)
            write(dk, b, h, heads, keys, dot(tl.trans(ds), x) * scale, LENGTH, D, BLOCK_D)
    if LEARNT:
        tl.atomic_add(dtable + mask * ENTRIES + entry, sums, mask=placed, sem="relaxed")
