"""Derivatives of the gather: of every order and mode, and summed as widely as their dtype asks for."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, hessian, jacfwd, jacrev

from retconv.convert import fold, kernel_to_mask, mask_to_kernel, unfold, windows
from retconv.grid import Grid, forget_kept
from retconv.masks import GaussianMixtureMask
from tests import naive
from tests.compare import assert_close
from tests.strategies import HEADS, kernel_of, mask_of, normal, seeds, uniform

HALF = (torch.bfloat16, torch.float16)
SECOND: dict[str, Callable[..., Callable[..., Tensor]]] = {
    "hessian": hessian,
    "jacrev(jacfwd)": lambda f: jacrev(jacfwd(f)),
    "jacfwd(jacfwd)": lambda f: jacfwd(jacfwd(f)),
    "jacrev(jacrev)": lambda f: jacrev(jacrev(f)),
}
GATHERS: dict[str, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    "kernel_to_mask": kernel_to_mask,
    "windows": windows,
    "unfold": unfold,
    "mask_to_kernel": lambda k, shape: kernel_to_mask(mask_to_kernel(kernel_to_mask(k, shape), shape), shape),
}
every_shape = pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 2)])


@given(
    st.sampled_from([(700,), (3, 120), (30, 17), (7, 6, 11)]), seeds, st.sampled_from(HALF), st.sampled_from([*GATHERS])
)
@example((700,), 0, torch.bfloat16, "kernel_to_mask")
def test_gradients_of_half_types_are_rounded_once(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype, name: str
) -> None:
    """The sum over hundreds of pairs is that of float64, rounded: a running sum in bfloat16 stays at 256."""
    kernel = kernel_of(shape, seed, dtype, heads=1).requires_grad_()
    mask = GATHERS[name](kernel, shape)
    weights = uniform(seed, 0.5, 1.5, *mask.shape).to(dtype)
    (gradient,) = torch.autograd.grad(mask, kernel, weights)
    expected = fold(weights.double().reshape(1, *shape, *shape), shape)
    assert gradient.dtype == dtype
    assert bool(((gradient.double() - expected).abs() <= torch.finfo(dtype).eps * expected).all())


@pytest.mark.parametrize("dtype", HALF)
def test_fold_of_half_types_is_rounded_once(dtype: torch.dtype) -> None:
    """Ones over all pairs of a line: the number of pairs, as the dtype has it."""
    assert torch.equal(fold(torch.ones(700, 700, dtype=dtype), (700,)), Grid(700).pair_count().to(dtype))


@every_shape
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND.keys())
def test_second_derivatives_in_every_mode(second: Callable[..., Callable[..., Tensor]], shape: tuple[int, ...]) -> None:
    """``Σ w M³`` has the Hessian ``6 K[δ] Σ w`` over the pairs of offset δ, and nothing beside its diagonal."""
    kernel, weights = kernel_of(shape, 0), mask_of(shape, 1)
    actual = second(lambda k: (weights * kernel_to_mask(k, shape) ** 3).sum())(kernel)
    flat, sides = kernel.flatten(1).tolist(), kernel[0].numel()
    expected = torch.zeros(HEADS, sides, HEADS, sides, dtype=torch.float64)
    for head, (at, offset) in product(range(HEADS), enumerate(naive.offsets(shape))):
        pairs = naive.by_offset(weights[head].tolist(), shape)[offset]
        expected[head, at, head, at] = 6 * flat[head][at] * sum(pairs)
    assert_close(actual.reshape(expected.shape), expected)


@every_shape
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND.keys())
def test_second_derivatives_of_the_sum_over_pairs(
    second: Callable[..., Callable[..., Tensor]], shape: tuple[int, ...]
) -> None:
    """``Σ (fold M)²`` has the Hessian 2 for two pairs of one offset, else 0."""
    actual = second(lambda m: fold(m, shape).square().sum())(normal(0, *shape, *shape))
    size = len(naive.positions(shape)) ** 2
    offset = [naive.difference(q, k) for q in naive.positions(shape) for k in naive.positions(shape)]
    assert_close(actual.reshape(size, size), [[2.0 * (a == b) for b in offset] for a in offset])


@every_shape
def test_derivatives_that_autograd_checks(shape: tuple[int, ...]) -> None:
    """First and second, backwards and forwards, alone and in a batch."""
    kernel, mask = kernel_of(shape, 0).requires_grad_(), normal(1, HEADS, *shape, *shape).requires_grad_()
    grid = Grid(shape, prefix=1)
    for function, leaf in (
        (lambda k: kernel_to_mask(k, grid).square(), kernel),
        (lambda m: fold(m, shape).square(), mask),
    ):
        assert torch.autograd.gradcheck(
            function, (leaf,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
        )
        assert torch.autograd.gradgradcheck(function, (leaf,), check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND.keys())
def test_second_derivatives_of_a_mask(second: Callable[..., Callable[..., Tensor]]) -> None:
    """In a mask's own parameters: those of plain double backward, though its tables are first made here."""
    forget_kept()
    module, weights = GaussianMixtureMask(1, 2).double(), mask_of((2, 3), 0, heads=1)
    alpha = module.alpha.detach().clone()

    def loss(sigma: Tensor) -> Tensor:
        return (weights * functional_call(module, {"sigma": sigma, "alpha": alpha}, ((2, 3),)).sin()).sum()

    sigma = normal(1, 1, 2)
    assert_close(second(loss)(sigma), torch.autograd.functional.hessian(loss, sigma))
