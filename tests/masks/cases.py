"""Masks of two heads for the conformance suite: how each is built for a grid, and its entries by the naive form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.masks import (
    BiasMask,
    BiasTableMask,
    DecayMask,
    ElementwiseMask,
    GaussianMixtureMask,
    KernelTableMask,
    Mask,
    OffDiagonalMask,
    RetNetMask,
    WindowMask,
)
from tests import naive
from tests.compare import assert_close
from tests.strategies import HEADS, SHAPES

CENTERS = ((0.5, -1.0, 1.5), (-2.0, 1.0, 0.25))
GAMMA = (0.55, 0.9)
SIGMA = ((0.7, 2.0, 9.0), (1.3, 0.4, 3.0))
ALPHA = ((1.5, -0.8, 0.6), (-0.3, 2.0, 0.5))
LINES = ((1,), (7,))
#: Grids on which offsets repeat, so that having a kernel is a statement.
LARGER = ((7,), (1, 7), (3, 5), (5, 3), (4, 4), (2, 3, 4))

#: The value of a head at a pair of tokens (query, key).
Pairwise = Callable[[int, naive.Position, naive.Position], float]


@dataclass(frozen=True)
class Case:
    """A mask of two distinct heads: how it is built for a grid, and its entries by the naive form."""

    build: Callable[[Grid], Mask]
    value: Pairwise
    facts: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    has_kernel: bool = True
    moves: bool = True
    grows: bool = True
    has_numbers: bool = True


def of_offset(value: Callable[[int, naive.Position], float]) -> Pairwise:
    """A mask that depends on the offset alone, from its value at each head and offset."""
    return lambda h, q, k: value(h, naive.difference(q, k))


def gamma() -> Tensor:
    return torch.tensor(GAMMA, dtype=torch.float64)


def mixture(positive: bool) -> Mask:
    mask = GaussianMixtureMask(HEADS, len(SIGMA[0]), positive=positive)
    mask.load_state_dict({"sigma": torch.tensor(SIGMA), "alpha": torch.tensor(ALPHA)})
    return mask


def table(grid: Grid) -> Mask:
    entries = [naive.kernel(lambda d, h=h: naive.ripple(h, *d), grid.shape) for h in range(HEADS)]
    return KernelTableMask.from_kernel(torch.tensor(entries).reshape(HEADS, *grid.kernel_shape))


def bias_table(grid: Grid) -> Mask:
    mask = BiasTableMask(grid, HEADS)
    mask.load_state_dict({"weight": table(grid).state_dict()["weight"]})
    return mask


def bias(name: str, **numbers: object) -> Callable[[Grid], Mask]:
    """A bias with numbers as float64 has them, whatever dtype learns their logarithms."""
    wide = {key: torch.tensor(value, dtype=torch.float64) for key, value in numbers.items()}
    return lambda grid: BiasMask(HEADS, name, axes=grid.ndim, **wide)  # type: ignore[arg-type]


def of_bias(value: Callable[[int, naive.Position], float]) -> Pairwise:
    """A mask whose logarithm is known."""
    return of_offset(lambda h, d: math.exp(value(h, d)))


def elementwise(grid: Grid, per_head: bool) -> Mask:
    mask = ElementwiseMask(grid, HEADS, per_head=per_head)
    matrices = range(HEADS if per_head else 1)
    rows = [naive.mask(lambda q, k, h=h: naive.ripple(h, *q, *k), grid.shape) for h in matrices]
    mask.load_state_dict({"weight": torch.tensor(rows)})
    return mask


CAUSAL = of_offset(lambda h, d: naive.causal_decay(d, GAMMA[h]))
MANHATTAN = of_offset(lambda h, d: naive.manhattan_decay(d, GAMMA[h]))
EUCLIDEAN = of_offset(lambda h, d: naive.euclidean_decay(d, GAMMA[h]))
MIXTURE = of_offset(lambda h, d: naive.gaussian_mixture(d, SIGMA[h], ALPHA[h]))
POSITIVE = of_offset(lambda h, d: naive.gaussian_mixture(d, SIGMA[h], [abs(a) for a in ALPHA[h]]))
DECAY = ("heads=2", "gamma=0.55…0.9")

MASKS = {
    "retnet": Case(lambda g: RetNetMask(2, gamma()), CAUSAL, (*DECAY, "fixed"), LINES),
    "retnet, learnable": Case(lambda g: RetNetMask(2, gamma(), learnable=True), CAUSAL, (*DECAY, "learnable"), LINES),
    "retnet, normalised": Case(
        lambda g: RetNetMask(2, gamma(), learnable=True, normalize=True),
        lambda h, q, k: naive.normalized_retnet(q, k, GAMMA[h]),
        (*DECAY, "normalize=True"),
        ((7,), (12,)),
        has_kernel=False,
    ),
    "two-sided": Case(lambda g: DecayMask(2, "two_sided", gamma()), MANHATTAN, (*DECAY, "'two_sided'"), LINES),
    "manhattan": Case(lambda g: DecayMask(2, gamma=gamma()), MANHATTAN, (*DECAY, "fixed", "'manhattan'")),
    "manhattan, learnable": Case(lambda g: DecayMask(2, "manhattan", gamma(), True), MANHATTAN, (*DECAY, "learnable")),
    "euclidean": Case(lambda g: DecayMask(2, "euclidean", gamma(), True), EUCLIDEAN, (*DECAY, "'euclidean'")),
    "gmm": Case(lambda g: mixture(False), MIXTURE, ("heads=2", "components=3", "sigma=0.4…9", "alpha=-0.8…2")),
    "gmm, positive": Case(lambda g: mixture(True), POSITIVE, ("alpha=-0.8…2", "positive=True")),
    "off diagonal": Case(
        lambda g: OffDiagonalMask(2), of_offset(lambda h, d: float(any(d))), ("heads=2",), has_numbers=False
    ),
    "table": Case(table, of_offset(lambda h, d: naive.ripple(h, *d)), ("heads=2", "Grid("), moves=False),
    "kerple, logarithmic": Case(
        bias("kerple_log", scale=(1.5, 0.4), rate=(0.3, 2.0)),
        of_bias(lambda h, d: naive.kerple_log(d, (1.5, 0.4)[h], (0.3, 2.0)[h])),
        ("heads=2", "kerple_log", "scale=0.4…1.5", "rate=0.3…2", "learnable"),
    ),
    "kerple, power": Case(
        bias("kerple_power", scale=(0.7, 0.2), exponent=(0.5, 1.6)),
        of_bias(lambda h, d: naive.kerple_power(d, (0.7, 0.2)[h], (0.5, 1.6)[h])),
        ("heads=2", "kerple_power", "scale=0.2…0.7", "exponent=0.5…1.6"),
    ),
    "gpsa": Case(
        lambda g: bias("gpsa", strength=(0.3, 0.1), center=[c[: g.ndim] for c in CENTERS])(g),
        of_bias(lambda h, d: naive.gpsa(d, (0.3, 0.1)[h], CENTERS[h][: len(d)])),
        ("heads=2", "gpsa", "strength=0.1…0.3", "center="),
    ),
    "window": Case(
        lambda g: WindowMask(2, radius=2),
        of_offset(lambda h, d: naive.window(d, 2)),
        ("heads=2", "radius=2", "dilation=1"),
        has_numbers=False,
    ),
    "window, dilated": Case(
        lambda g: WindowMask(2, radius=1, dilation=2),
        of_offset(lambda h, d: float(all(abs(x) in (0, 2) for x in d))),
        ("radius=1", "dilation=2"),
        has_numbers=False,
    ),
    "bias table": Case(
        bias_table,
        of_bias(lambda h, d: naive.ripple(h, *d)),
        ("heads=2", "Grid(", "bias="),
        moves=False,
        grows=False,
    ),
    "elm": Case(
        lambda g: elementwise(g, per_head=False),
        lambda h, q, k: naive.ripple(0, *q, *k),
        ("heads=2", "per_head=False", "Grid("),
        LARGER,
        has_kernel=False,
        moves=False,
    ),
    "elm, per head": Case(
        lambda g: elementwise(g, per_head=True),
        lambda h, q, k: naive.ripple(h, *q, *k),
        ("heads=2", "per_head=True", "Grid("),
        LARGER,
        has_kernel=False,
        moves=False,
    ),
}


def build(case: Case, grid: Grid, dtype: torch.dtype = torch.float64) -> Mask:
    """The mask with parameters of a dtype from the start, not cast to it afterwards."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return case.build(grid)
    finally:
        torch.set_default_dtype(before)


def by_loops(case: Case, shape: tuple[int, ...]) -> list[naive.Rows]:
    return [naive.mask(lambda q, k, h=h: case.value(h, q, k), shape) for h in range(HEADS)]


def check_naive_agreement(case: Case, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The mask on its grid, and where it moves on grids it was not built for, against the double loop."""
    mask = build(case, Grid(shape), dtype)
    for target in [shape, *([tuple(n + 2 for n in shape), tuple(max(1, n - 2) for n in shape)] if case.moves else [])]:
        assert_close(mask(Grid(target)), by_loops(case, target))
