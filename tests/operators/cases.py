"""What the tests of operators share: sources of an operator with their kernels in loops, and the loops' answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


def check_against_loops(shape: Shape, seed: int, method: str, dtype: torch.dtype) -> None:
    """``operator @ x`` against a double loop over tokens, for every kind of source that the method serves."""
    x = signal_of(shape, seed, dtype)
    for case in sources(shape, seed, dtype).values():
        if applies(method, case.source, shape):
            masks = [naive.mask_of_kernel(kernel, shape) for kernel in case.kernels]
            expected = [naive.matvec(mask, head) for mask, head in zip(masks, x.tolist(), strict=True)]
            y = operator(case.source, shape, method=method) @ x
            assert y.dtype == dtype
            assert_close(y, expected)


@contextmanager
def without_numba() -> Iterator[None]:
    """As if it were not installed: operations of torch run what compiled loops would."""
    with mock.patch.object(compiled, "loops", return_value=None):
        yield
