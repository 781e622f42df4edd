"""Which form is fastest: the operators' cost model, extended by the forms of retention."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from retconv.masks import Forms
from retconv.operators import method_cost
from retconv.operators.compiled import serves
from retconv.retention.cancelling import keeps_tolerance
from retconv.retention.chunks import chunk_length

#: ``"parallel"`` is chosen only where its scores and mask together stay below this, in bytes.
PARALLEL_BYTES = 2**26
#: Seconds for each multiplication of a product and for each entry of a dense object that is written or read, on one
#: core of a 2.8 GHz Xeon in float32, read off `retconv bench retention`. Only ratios matter.
PRODUCT, ENTRY = 3.0e-11, 2.0e-10
#: The same on one core of an EPYC for each entry of the outer products of keys and values, which no cache holds.
OUTER = 1.0e-9
#: Seconds of each call of a form, and of each step of a recursion in Python.
CALL, STEP = 1.0e-4, 5.0e-6
#: Up to so many scores ``"parallel"`` is chosen without an estimate.
FEW = 2**16


def seconds(method: str, q: Tensor, v: Tensor, mask: Forms) -> float:
    """Estimated seconds of a form; infinite where it would need too much memory."""
    batch, heads, size, d = q.shape
    e = v.shape[-1]
    rows = batch * heads
    if method in ("parallel", "tiled"):
        pairs = float(rows * size**2)
        entries = (batch + 2) * heads * size**2
        if method == "parallel" and entries * q.itemsize > PARALLEL_BYTES:
            return math.inf
        if method == "parallel":
            return CALL + pairs * ((d + e) * PRODUCT + ENTRY) + entries * ENTRY
        return CALL * heads + pairs * ((d + e) * PRODUCT + 3 * ENTRY)  # of the mask a strided view is read
    line = mask.exponentials
    if line is not None and method in ("chunkwise", "scan"):
        sides = 1 if line.causal else 2
        chunk = min(chunk_length(d, e), size)
        per_token = chunk * (d + e) + 2 * sides * line.order * d * e
        return (
            3 * CALL + rows * size * (per_token * PRODUCT + chunk * ENTRY) + 2 * sides * STEP * math.sqrt(size / chunk)
        )
    # Law 14 never beats a recursion on one axis, so the factors that it would use there are not made.
    decay = mask.decay if line is None else None
    factors = mask.factors if line is None and decay is None else None
    rank = 1 if decay is not None else 0 if factors is None else factors.rank
    compiled = decay is not None and serves(decay.gamma, q.dtype, q)
    of_pairs = (mask.grid, heads, batch * d * e, rank, decay is not None, q.dtype, q.device, compiled)
    problem = method_cost.Problem(*of_pairs)
    if method == "convolution":
        of = min(method_cost.seconds(name, problem) for name in method_cost.SECONDS)
    else:
        of = method_cost.seconds("recursive" if method == "scan" else "fft", problem)
    return of + _of_outer_products(q, v)


def _of_outer_products(q: Tensor, v: Tensor) -> float:
    """Seconds in which law 14 writes the outer products and contracts them, whatever convolves them."""
    return CALL * q.shape[1] + 2 * q.numel() * v.shape[-1] * OUTER


def is_small(q: Tensor) -> bool:
    """Whether ``"parallel"`` takes less time than an estimate would."""
    return q.shape[0] * q.shape[1] * q.shape[2] ** 2 <= FEW


def choose(q: Tensor, v: Tensor, mask: Forms, methods: Sequence[str]) -> str:
    """The form with the least estimated time that keeps the tolerance of q's dtype; token by token is never it."""
    if mask.exponentials is not None and not keeps_tolerance(mask.exponentials, q.dtype, q.shape[2]):
        methods = [name for name in methods if name not in ("chunkwise", "scan")]
    by_law_14 = ("fft", "convolution", *(("scan",) if mask.exponentials is None else ()))
    names = [name for name in methods if name != "recurrent" and name not in by_law_14]
    costs = {name: seconds(name, q, v, mask) for name in names}
    # An estimate of law 14 asks for the mask's decay or factors, which takes as long as the products of few tokens.
    if min(costs.values()) > _of_outer_products(q, v):
        costs |= {name: seconds(name, q, v, mask) for name in methods if name in by_law_14}
    return min(costs, key=lambda name: costs[name])
