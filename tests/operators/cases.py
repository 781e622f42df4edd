"""What the tests of operators share: sources of an operator with their kernels in loops, and the loops' answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from unittest import mock

import pytest
import torch
from torch import Tensor

import retconv
from retconv.kernels import Decay, Separable
from retconv.masks import MaskLike
from retconv.operators import METHODS, compiled, operator
from tests import naive
from tests.compare import assert_close
from tests.strategies import HEADS, kernel_of, normal, signal_of, uniform

Shape = tuple[int, ...]
every_method = pytest.mark.parametrize("method", [*METHODS, "auto"])


@dataclass(frozen=True)
class Source:
    """Something an operator is made of, and its kernel in loops: a flat list for each head."""

    source: Tensor | Separable
    kernels: list[list[float]]


@cache  # each method and test of a grid asks for the same ones
def sources(shape: Shape, seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Source]:
    """A free kernel, a sum of three outer products, Manhattan decay, and on a line causal decay."""
    free = kernel_of(shape, seed, dtype)
    factors = tuple(normal(seed + d, HEADS, 3, 2 * n - 1, dtype=dtype) for d, n in enumerate(shape))
    gamma = uniform(seed, 0.3, 0.99, HEADS, dtype=dtype)
    found = {
        "free": Source(free, free.flatten(1).tolist()),
        "separable": Source(
            Separable(factors), [naive.outer([f[h].tolist() for f in factors], shape) for h in range(HEADS)]
        ),
        "decay": Source(
            Decay(gamma),
            [naive.kernel(lambda d, g=g: naive.manhattan_decay(d, g), shape) for g in gamma.tolist()],
        ),
    }
    if len(shape) == 1:
        found["causal"] = Source(
            Decay(gamma, causal=True),
            [naive.kernel(lambda d, g=g: naive.causal_decay(d, g), shape) for g in gamma.tolist()],
        )
    return found


def applies(method: str, source: MaskLike, shape: Shape) -> bool:
    return method == "auto" or method in retconv.operator(source, shape).methods


@cache
def answers(shape: Shape, seed: int, dtype: torch.dtype) -> dict[str, list[list[list[float]]]]:
    """What a double loop over tokens makes of the signal, for every source and head."""
    x = signal_of(shape, seed, dtype).tolist()
    return {
        name: [
            naive.matvec(naive.mask_of_kernel(kernel, shape), head)
            for kernel, head in zip(case.kernels, x, strict=True)
        ]
        for name, case in sources(shape, seed, dtype).items()
    }


def check_against_loops(shape: Shape, seed: int, method: str, dtype: torch.dtype) -> None:
    """``operator @ x`` against a double loop over tokens, for every kind of source that the method serves."""
    x = signal_of(shape, seed, dtype)
    for name, case in sources(shape, seed, dtype).items():
        if applies(method, case.source, shape):
            y = operator(case.source, shape, method=method) @ x
            assert y.dtype == dtype
            assert_close(y, answers(shape, seed, dtype)[name])


@contextmanager
def without_numba() -> Iterator[None]:
    """As if it were not installed: operations of torch run what compiled loops would."""
    with mock.patch.object(compiled, "loops", return_value=None):
        yield
