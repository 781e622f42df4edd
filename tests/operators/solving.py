"""What the tests of solving share: masks that have an inverse, and the answer in exact fractions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Decay, Separable, euclidean_decay, gaussian
from retconv.masks import MaskLike
from tests.operators import naive_solve
from tests.strategies import HEADS, kernel_of, uniform

Shape = tuple[int, ...]
F64 = torch.float64
#: Grids of few enough tokens that exact fractions take milliseconds.
SHAPES: tuple[Shape, ...] = ((1,), (1, 1), (1, 7), (9,), (3, 5), (2, 3, 2))


@dataclass(frozen=True)
class System:
    """A mask, the kernel in float64 that it stands for, and the methods that solve it."""

    mask: MaskLike
    kernel: Tensor
    methods: tuple[str, ...]

    def entries(self, shape: Shape) -> list[list[list[float]]]:
        """``(heads, N, N)`` as lists."""
        entries: list[list[list[float]]] = kernel_to_mask(self.kernel, Grid(shape)).tolist()
        return entries

    def answer(self, shape: Shape, y: Tensor) -> Tensor:
        """The solution, in fractions."""
        pairs = zip(self.entries(shape), y.double().tolist(), strict=True)
        return torch.tensor([naive_solve.solve(mask, right) for mask, right in pairs], dtype=F64)


def systems(shape: Shape, seed: int, dtype: torch.dtype = F64) -> dict[str, System]:
    """A free kernel with a heavy centre, an outer product, decays, and a narrow Gaussian, of two heads that differ."""
    grid, axes = Grid(shape), range(1, len(shape) + 1)
    offsets, gamma = grid.offsets(), uniform(seed, 0.2, 0.6, HEADS, dtype=dtype)
    line, several = (("levinson",), ()) if len(shape) == 1 else ((), ("separable",))
    free = kernel_of(shape, seed)
    free = free / free.abs().sum(dim=tuple(axes), keepdim=True)
    free[(slice(None), *grid.center)] += 1.5
    factors = [uniform(seed + d, 0.1, 0.3, HEADS, 1, 2 * n - 1, dtype=dtype) for d, n in enumerate(shape)]
    for factor, n in zip(factors, shape, strict=True):
        factor[..., n - 1] += 2
    outer, wide = Separable(tuple(factors)), Separable(tuple(factor.double() for factor in factors))
    euclidean, narrow = euclidean_decay(offsets, gamma), gaussian(offsets, uniform(seed, 0.4, 0.7, HEADS, dtype=dtype))
    given = {
        "free": System(free.to(dtype), free.to(dtype).double(), ("dense", *line)),
        "outer": System(outer, wide.kernel(), ("dense", *line, *several)),
        "decay": System(Decay(gamma), Decay(gamma.double()).kernel(grid), ("recursive", "cg", *several)),
        "euclidean": System(euclidean, euclidean.double(), ("dense", "cg", *line)),
        "gaussian": System(narrow, narrow.double(), ("dense", "cg", *line)),
    }
    if len(shape) == 1:
        given["causal"] = System(
            Decay(gamma, causal=True), Decay(gamma.double(), causal=True).kernel(grid), ("recursive", *line)
        )
    return given
