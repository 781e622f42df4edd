"""Parameters of a mixture that are fewer than its Gaussians: each stands for all that it is spread over."""

import itertools

import pytest
import torch
from torch import Tensor

from retconv.analysis.spectrum import gaussian_mixture_symbol
from retconv.grid import Grid
from retconv.kernels import gaussian_mixture
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.strategies import HEADS, normal, uniform

COMPONENTS = 3
#: What a parameter may be: a number, one for all, one for each component, one for each head, and one for each of both.
SIZES: dict[str, tuple[int, ...]] = {
    "number": (),
    "one": (1, 1),
    "components": (1, COMPONENTS),
    "heads": (HEADS, 1),
    "both": (HEADS, COMPONENTS),
}
PAIRS = list(itertools.product(SIZES, SIZES))


def spread(parameter: Tensor, heads: int, components: int) -> Tensor:
    return parameter.expand(heads, components) if parameter.ndim else parameter.repeat(heads, components)


def drawn(one: str, other: str) -> tuple[Tensor, Tensor, int, int]:
    """Sigma and alpha of these sizes, and how many heads and components they make together."""
    sigma = uniform(0, 0.5, 4.0, *(SIZES[one] or (1,))).reshape(SIZES[one])
    alpha = normal(1, *(SIZES[other] or (1,))).reshape(SIZES[other])
    both = torch.broadcast_shapes((1, 1), sigma.shape, alpha.shape)
    return sigma, alpha, both[0], both[1]


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_number_is_that_of_every_gaussian(one: str, other: str, shape: tuple[int, ...]) -> None:
    """``Σ_c α_c exp(−‖δ‖² / 2(σ_c² + ε))`` by the loop, head by head; a Python number as a tensor."""
    sigma, alpha, heads, components = drawn(one, other)
    pairs = zip(*(spread(p, heads, components).tolist() for p in (sigma, alpha)), strict=True)
    expected = [naive.kernel(lambda d, s=s, a=a: naive.gaussian_mixture(d, s, a), shape) for s, a in pairs]
    offset = Grid(shape).offsets()
    actual = gaussian_mixture(offset, sigma, alpha)
    assert_close(actual.flatten(1), expected)
    if not alpha.ndim:
        number = gaussian_mixture(offset, sigma.float(), float(alpha))
        assert_exact(number, gaussian_mixture(offset, sigma.float(), alpha.float()))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_gradients_of_what_is_shared_are_sums(one: str, other: str) -> None:
    """In a scalar as in a full table of parameters."""
    sigma, alpha, heads, components = drawn(one, other)
    leaves = [p.requires_grad_() for p in (sigma, alpha)]
    offset, weights = Grid((2, 3)).offsets(), normal(2, heads, 3, 5)
    ours = torch.autograd.grad((weights * gaussian_mixture(offset, *leaves)).sum(), leaves)
    full = [spread(p, heads, components).detach().clone().requires_grad_() for p in leaves]
    theirs = torch.autograd.grad((weights * gaussian_mixture(offset, *full)).sum(), full)
    for actual, expected, leaf in zip(ours, theirs, leaves, strict=True):
        assert_close(actual, expected.sum_to_size(leaf.shape))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_symbol_of_what_is_shared(one: str, other: str) -> None:
    sigma, alpha, heads, components = drawn(one, other)
    theta = uniform(3, -3.0, 3.0, 4, 2)
    full = [spread(p, heads, components) for p in (sigma, alpha)]
    assert_close(gaussian_mixture_symbol(theta, sigma, alpha), gaussian_mixture_symbol(theta, *full))
