"""Which method is fastest: a cost model with measured coefficients, and a trial where it cannot tell."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from retconv.grid import Grid
from retconv.memory import DenseLimitError
from retconv.operators.columns import block_bytes
from retconv.operators.compiled import LONGEST
from retconv.operators.fft import lengths
from retconv.operators.recursive import BLOCKS, SINGLE


@dataclass(frozen=True)
class Problem:
    """What the cost of one application depends on.

    Attributes:
        grid: The grid.
        heads: Number of kernels.
        columns: Columns that share each kernel: batch elements times features.
        rank: Outer products of a separable kernel, or 0.
        decay: Whether the kernel is a decay that recursions run.
        dtype: Of the input.
        device: Of the input.
        compiled: Whether compiled loops run the recursions.
    """

    grid: Grid
    heads: int
    columns: int
    rank: int
    decay: bool
    dtype: torch.dtype
    device: torch.device
    compiled: bool = False


#: Seconds for each unit of work and for each call, by method, on two cores with AVX-512 (a 2.8 GHz Xeon, an EPYC) in
#: float32, read off `retconv bench operator`. Only ratios matter for the choice. Work is counted in
#: multiplications for products, and in n log n for transforms.
SECONDS = {
    "dense": (9.5e-12, 3.0e-5),
    "direct": (4.0e-10, 5.0e-5),
    "fft": (2.2e-10, 7.0e-4),
    "toeplitz": (1.6e-11, 1.2e-4),
    "separable": (1.2e-11, 3.0e-5),
    "recursive": (1.2e-11, 8.0e-5),
}
#: The same of recursions by compiled loops, for each entry and axis, on one core of that EPYC: `retconv bench
#: operator --threads 1`. The start of an inner loop takes as long as so many columns.
COMPILED, COMPILED_START = (1.7e-10, 1.6e-5), 24
#: Products of matrices with fewer columns take about as long as with so many, but for one: 2 to 12 of a decay on
#: 128×128 took 0.6 to 1.9 ms by ``"separable"`` (one core, float32, one run), where the recursion takes 0.17 to 0.27.
NARROW = 24
#: The methods that serve periodic axes.
ON_RINGS = ("dense", "fft")
#: How much longer they take there with an input of more bytes than a cache holds, and along axes carried in float64.
CACHE, FROM_MEMORY, FAR = 2**24, 3.5, 2.5
#: Machines differ by this factor in how fast one method is against another: the model does not decide within it.
CLOSE = 2.0
#: Methods that close are tried, once a process, where one application is estimated to take this long, in seconds.
WORTH_A_TRIAL = 5e-3
#: Largest size of a prepared operand, relative to the input, that a method may keep to be chosen.
MEMORY = 2.0
#: An operand of up to so many bytes may be kept whatever the size of the input.
SMALL = 2**24


def work(method: str, p: Problem) -> float:
    """Units of work of one application; infinite where a method does not apply or needs too much memory."""
    if not (p.grid.is_open or method in ON_RINGS):
        return math.inf
    n, size = p.grid.shape, p.grid.size
    entries = p.heads * size * p.columns
    # What products write: of one column and one matrix it is a product with a vector, which no blocks slow down.
    written = p.heads * size * max(p.columns, NARROW)
    rows = size // n[-1]
    units, prepared = math.inf, 0.0
    if method == "dense":
        units = float((entries if p.heads == p.columns == 1 else written) * size)
        prepared = float(p.heads * size**2)
        try:
            p.grid.require_dense(p.heads, p.dtype)
        except DenseLimitError:
            return math.inf
    elif method == "direct":
        units = float(entries * math.prod(p.grid.kernel_shape))
    elif method == "fft":
        padded = math.prod(lengths(p.grid))
        units = p.heads * p.columns * padded * math.log2(2 * padded)
    elif method == "toeplitz" and p.grid.ndim > 1:
        # Two transforms of n² multiplications for each row and column, and three products with P × P matrices.
        units, prepared = written * (2.0 * n[-1] + 3 * rows), 3.0 * p.heads * n[-1] * rows**2
    elif method == "separable" and p.rank:
        # Terms beyond the first are added to a result that is read and written again each time.
        # One column is multiplied by matrices as it lies.
        narrow = entries if p.columns == 1 else written
        units = float(narrow * sum(n) * (p.rank if p.rank == 1 else 2.5 * p.rank))
    elif method == "recursive" and p.compiled:
        near = FROM_MEMORY if entries * p.dtype.itemsize > CACHE else 1.0
        axes = sum(near if side <= LONGEST else max(near, FAR) for side in n if side > 1)
        units = p.heads * size * (p.columns + COMPILED_START) * max(1.0, axes)
    elif method == "recursive" and p.decay:
        units = float(entries * sum(side if side <= SINGLE else BLOCKS[0] + 8 for side in n))
    if prepared > MEMORY * entries and prepared * p.dtype.itemsize > max(SMALL, block_bytes(p.device)):
        return math.inf
    return units


def seconds(method: str, p: Problem) -> float:
    """Estimated seconds of one application of a method."""
    per_unit, per_call = COMPILED if method == "recursive" and p.compiled else SECONDS[method]
    calls = p.rank * p.heads if method == "separable" else 1
    return per_unit * work(method, p) + per_call * calls


_tried: dict[Problem, str] = {}


def choose(p: Problem, apply: Callable[[str], object] | None) -> str:
    """The method with the least estimated time, or among several that are close the one that a trial finds fastest.

    Args:
        p: The problem.
        apply: Applies a method, by name, to an input of the problem's size; None where time means nothing.
    """
    estimates = {method: seconds(method, p) for method in SECONDS}
    best = min(estimates, key=lambda method: estimates[method])
    close = [method for method, estimate in estimates.items() if estimate <= CLOSE * estimates[best]]
    if len(close) == 1 or estimates[best] < WORTH_A_TRIAL or apply is None:
        return best
    if p not in _tried:
        _tried[p] = min(close, key=lambda method: _time(apply, method))
    return _tried[p]


def _time(apply: Callable[[str], object], method: str) -> float:
    """Seconds of the faster of two applications after one that prepares the operand and warms up."""
    apply(method)
    durations = []
    for _ in range(2):
        start = time.perf_counter()
        apply(method)
        durations.append(time.perf_counter() - start)
    return min(durations)
