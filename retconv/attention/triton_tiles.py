"""What Triton's kernels of attention share: a tile of scores, what a mask makes of it, and its gradients.

A tile of ``S = q kᵀ · scale`` is masked, normalised, multiplied and forgotten, as in FlashAttention-2 (Dao 2023, arXiv
2307.08691). Its part of the mask is read from the kernel table by offset. With the place of a token in its grid,

    place(t) = Σ_d t_d · stride_d,    M[q, k] = table[place(k) − place(q) + centre],

two tokens name an entry by one subtraction, however many axes there are. Where a token has no place, in the prefix or
beyond the last token, the mask is neutral.

Arguments in capitals are known when a kernel is compiled: ``LENGTH``, ``PREFIX`` and the last axes ``N2`` and ``N3`` of
the grid; ``CENTRE`` and ``ENTRIES`` of a head's table, and how many ``HEADS`` it is of; a placement's ``BEFORE``,
``SOFTMAX`` and ``AFTER``; channels ``D`` and ``DV``, with powers of two that hold them; ``ROWS`` and ``KEYS`` of a
tile. So many elements of the batch as are ``together`` share a mask. What a kernel writes is ``(batch, length, heads,
channels)``; what it reads has strides. Softmax and sums are float32, and products of float32 operands are not TF32's.

Modules of this name need Triton, and are imported when they are first used.
"""

import triton
import triton.language as tl


@triton.jit
def place(token, PREFIX: tl.constexpr, N2: tl.constexpr, N3: tl.constexpr):
    """Where offsets to a token point in a flat table, but for the centre."""
    at = token - PREFIX
    return (at // (N2 * N3) * (2 * N2 - 1) + at // N3 % N2) * (2 * N3 - 1) + at % N3


@triton.jit
def has_place(token, LENGTH: tl.constexpr, PREFIX: tl.constexpr):
    """Whether it is a token of the grid."""
    return (token >= PREFIX) & (token < LENGTH)


@triton.jit
def read_mask(table, entry, placed, BEFORE: tl.constexpr):
    """Entries of a table; what changes no score or weight where there are none."""
    neutral = 0.0 if BEFORE == "add" else 1.0
    return tl.load(table + entry, mask=placed, other=neutral)


@triton.jit
def read(x, at, step, tokens, LENGTH: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
    """Tokens of the element that begins at ``at``, ``(tokens, BLOCK)``, 0 beyond the last one and the last channel."""
    channels = tl.arange(0, BLOCK)
    inside = (tokens[:, None] < LENGTH) & (channels[None, :] < D)
    return tl.load(x + at + tokens[:, None] * step + channels[None, :], mask=inside, other=0.0)


@triton.jit
def write(x, b, h, heads, tokens, values, LENGTH: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
    """Write ``(tokens, BLOCK)`` of an element to ``(batch, length, heads, channels)``, without what is beyond."""
    channels = tl.arange(0, BLOCK)
    inside = (tokens[:, None] < LENGTH) & (channels[None, :] < D)
    at = (b * LENGTH * heads + h) * D + tokens[:, None] * (heads * D) + channels[None, :]
    tl.store(x + at, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def read_peaks(peaks, element, rows, LENGTH: tl.constexpr):
    """Of each row its largest logit, and one over the sum that it was divided by."""
    at = peaks + element * 2 * LENGTH + rows
    top = tl.load(at, mask=rows < LENGTH, other=0.0)
    return top, 1.0 / tl.load(at + LENGTH, mask=rows < LENGTH, other=1.0)


@triton.jit
def dot(a, b):
    """A product with float32 sums."""
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def logits(scores, m, seen, BEFORE: tl.constexpr, SOFTMAX: tl.constexpr):
    """Masked scores, −∞ for keys beyond the last where there is a softmax."""
    z = scores
    if BEFORE == "multiply":
        z = scores * m
    if BEFORE == "add":
        z = scores + m
    if SOFTMAX:
        z = tl.where(seen, z, float("-inf"))
    return z


@triton.jit
def derive(
    scores, m, d, seen, top, share, mean, BEFORE: tl.constexpr, SOFTMAX: tl.constexpr, AFTER: tl.constexpr
):  # fmt: skip
    """What multiplies V, and the gradients of scores and mask.

    Where the mask multiplies scores, with P the softmax of the logits, they are

        dZ = P ⊙ (dO Vᵀ − rowsum(dO ⊙ O)),   dS = dZ ⊙ M,   dM = dZ ⊙ S,

    and likewise otherwise. ``d`` is dO Vᵀ; ``top``, ``share`` and ``mean`` are numbers of each row.
    """
    w = logits(scores, m, seen, BEFORE, SOFTMAX)
    dz = d
    dm = d
    if SOFTMAX:
        w = tl.exp(w - top) * share
        if AFTER:
            dm = w * d
            dz = w * (d * m - mean)
            w = w * m
        else:
            dz = w * (d - mean)
    ds = dz
    if BEFORE == "multiply":
        dm = dz * scores
        ds = dz * m
    if BEFORE == "add":
        dm = dz
    return w, ds, dm
