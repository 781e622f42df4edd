"""Closed forms of the offset: each with its naive twin, and how its parameters are drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from retconv import kernels
from retconv.grid import Grid
from tests import naive
from tests.compare import assert_close, assert_each_close
from tests.kernels import naive_relatives
from tests.strategies import HEADS, normal, uniform


@dataclass(frozen=True)
class Case:
    """A closed form, its naive twin, and parameters drawn from a seed and the number of axes."""

    function: Callable[..., Tensor]
    loop: Callable[..., float]
    draw: Callable[[int, int], tuple[Tensor, ...]]
    axes: tuple[int, ...] = (1, 2, 3)


def positive(seed: int, _: int) -> tuple[Tensor, ...]:
    return (uniform(seed, 0.05, 1.9, HEADS),)


def gamma(seed: int, _: int) -> tuple[Tensor, ...]:
    return (uniform(seed, 0.02, 1.0, HEADS),)


def mixture(seed: int, _: int) -> tuple[Tensor, ...]:
    return uniform(seed, 0.3, 12.0, HEADS, 3), normal(seed + 1, HEADS, 3)


def two_positive(seed: int, _: int) -> tuple[Tensor, ...]:
    return (*positive(seed, 0), *positive(seed + 1, 0))


def centered(seed: int, axes: int) -> tuple[Tensor, ...]:
    return uniform(seed, 0.05, 1.9, HEADS), normal(seed + 1, HEADS, axes)


def turned(seed: int, _: int) -> tuple[Tensor, ...]:
    return uniform(seed, 0.02, 1.0, HEADS), normal(seed + 1, HEADS)


def one_gaussian(offset: naive.Position, sigma: float) -> float:
    return naive.gaussian_mixture(offset, [sigma], [1.0])


CASES = {
    "causal_decay": Case(kernels.causal_decay, naive.causal_decay, gamma, (1,)),
    "two_sided_decay": Case(kernels.two_sided_decay, naive.manhattan_decay, gamma, (1,)),
    "manhattan_decay": Case(kernels.manhattan_decay, naive.manhattan_decay, gamma),
    "euclidean_decay": Case(kernels.euclidean_decay, naive.euclidean_decay, gamma),
    "gaussian": Case(kernels.gaussian, one_gaussian, positive),
    "gaussian_mixture": Case(kernels.gaussian_mixture, naive.gaussian_mixture, mixture),
    "gpsa": Case(kernels.gpsa, naive.gpsa, centered),
    "gpsa, centre 0": Case(kernels.gpsa, lambda d, a: naive.gpsa(d, a, [0.0] * len(d)), positive),
    "alibi": Case(kernels.alibi, naive.alibi, positive),
    "kerple_log": Case(kernels.kerple_log, naive.kerple_log, two_positive),
    "kerple_power": Case(kernels.kerple_power, naive.kerple_power, two_positive),
    "euclidean_alibi": Case(kernels.euclidean_alibi, naive_relatives.euclidean_alibi, positive),
    "gaussian_bias": Case(kernels.gaussian_bias, naive_relatives.gaussian_bias, two_positive),
    "xpos": Case(kernels.xpos, naive_relatives.xpos, turned, (1,)),
    "sandwich": Case(kernels.sandwich, naive_relatives.sandwich, positive, (1,)),
    "cosformer": Case(kernels.cosformer, naive_relatives.cosformer, positive, (1,)),
}
#: A sum of signed terms has no relative accuracy entry by entry, only relative to its largest entry.
SIGNED = {"gaussian_mixture", "gpsa", "xpos", "sandwich", "cosformer"}


def by_loops(case: Case, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
    """The kernel of each head from the naive form, on the parameters as they are after rounding to their dtype."""
    per_head = [[p[h].tolist() for p in parameters] for h in range(HEADS)]
    tables = [naive.kernel(lambda d, own=own: case.loop(d, *own), shape) for own in per_head]
    return torch.tensor(tables, dtype=torch.float64).reshape(HEADS, *(2 * n - 1 for n in shape))


def check_closed_form(name: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    case = CASES[name]
    parameters = tuple(p.to(dtype) for p in case.draw(seed, len(shape)))
    actual = case.function(Grid(shape).offsets(), *parameters)
    assert actual.dtype == dtype
    expected = by_loops(case, parameters, shape)
    if name in SIGNED:
        assert_close(actual, expected)
    else:
        # Computed in float64 and cast last: float32 is off by its own rounding only.
        assert_each_close(actual, expected, relative=1e-12 if dtype == torch.float64 else torch.finfo(dtype).eps)
