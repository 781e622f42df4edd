"""Parameters of a mixture that are fewer than its Gaussians: each stands for all that it is spread over."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from retconv import kernels
from retconv.analysis.spectrum import gaussian_mixture_symbol
from retconv.attention import gaussian_channels, gpsa_channels
from retconv.grid import Grid
from retconv.kernels import gaussian_mixture
from retconv.masks import GaussianMixtureMask
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.strategies import HEADS, normal, uniform

COMPONENTS = 3
LINE = Grid(5).offsets()
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
        assert_exact(number, gaussian_mixture(offset, sigma.float(), alpha).float())


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


#: Closed forms of two parameters, by their values: either may be a number beside the other.
OF_TWO: dict[str, Callable[[Any, Any], Tensor]] = {
    "gaussian_mixture": lambda one, other: kernels.gaussian_mixture(LINE, one, other),
    "wrapped_gaussian": lambda one, other: kernels.wrapped_gaussian(Grid(5, periodic=True), one, other),
    "kerple_log": lambda one, other: kernels.kerple_log(LINE, one, other),
    "kerple_power": lambda one, other: kernels.kerple_power(LINE, one, other),
    "xpos": lambda one, other: kernels.xpos(LINE, one, other),
    "gaussian_bias": lambda one, other: kernels.gaussian_bias(LINE, one, other),
    "gpsa": lambda one, other: kernels.gpsa(LINE, one, other),
    "field_of_view": lambda one, other: kernels.field_of_view(LINE, one, other),
    "gaussian_channels": lambda one, other: gaussian_channels(one, Grid(5, prefix=1), other).query,
    "gpsa_channels": lambda one, other: gpsa_channels(one, Grid(5, prefix=1), other).query,
    "from_parameters": lambda one, other: GaussianMixtureMask.from_parameters(one, other).kernel(5).detach(),
}
#: Axes of both, where these are not the heads alone; of the second ones a number would be no parameter.
AXES = {
    "gaussian_mixture": (2, 2),
    "wrapped_gaussian": (2, 2),
    "from_parameters": (2, 2),
    "gpsa": (1, 2),
    "gpsa_channels": (1, 2),
    "field_of_view": (1, 3),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OF_TWO)
def test_a_number_has_the_dtype_of_the_tensor_beside_it(name: str, dtype: torch.dtype) -> None:
    """And its own 53 bits: 0.1 is nowhere that of float32, and torch's default dtype changes nothing."""
    of, (first, second) = OF_TWO[name], AXES.get(name, (1, 1))
    one, other = (torch.full((1,) * axes, 0.1, dtype=dtype) for axes in (first, second))
    # The parameters of a module have one dtype.
    exact = torch.full((1,) * first, 0.1, dtype=dtype if name == "from_parameters" else torch.float64)
    pairs = [((0.1, other), (exact, other))] + [((one, 0.1), (one, exact))] * (second == first)
    before = torch.get_default_dtype()
    for default in (torch.float32, torch.float64):
        torch.set_default_dtype(default)
        try:
            kernels_of = [(of(*numbers), of(*tensors)) for numbers, tensors in pairs]
        finally:
            torch.set_default_dtype(before)
        for actual, expected in kernels_of:
            assert actual.dtype == dtype
            assert_exact(actual, expected.to(dtype))


def test_a_number_alone_is_not_rounded_first() -> None:
    """The result has the default dtype; float32 would take 1 − 1e-9 for 1, and lose 1e-4 of 0.9995 to the 4,095th."""
    decay = kernels.causal_decay(Grid(4096).offsets(), 0.9995)
    assert decay.dtype == torch.float32
    assert float(decay[0, 0]) == pytest.approx(0.9995**4095, rel=1e-7)
    assert float(kernels.wrapped_decay(Grid(4, periodic=True), 1 - 1e-9)[0, 0]) == pytest.approx(5e8, rel=1e-6)
    torch.testing.assert_close(kernels.gaussian(torch.tensor([[0.0]]), 1.0), torch.ones(1, 1))
    assert kernels.alibi(torch.tensor([[3]]), torch.tensor([2])).dtype == torch.float32
