"""Adjoint and gradients of the operator: the transposed mask is the flipped kernel, and autograd agrees."""

import pytest
import torch
from torch import Tensor

from retconv.checks import dot_test
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Decay, Separable
from retconv.masks import DecayMask, RetNetMask
from retconv.operators import METHODS, operator
from tests.compare import assert_close, assert_exact
from tests.operators.cases import Shape, applies, every_method, sources
from tests.strategies import HEADS, every_grid, kernel_of, normal, signal_of, uniform

SMALL = [(4,), (2, 3), (2, 1, 2)]


@every_method
@every_grid
def test_dot_test(shape: Shape, seed: int, method: str) -> None:
    """⟨M x, y⟩ = ⟨x, Mᵀ y⟩."""
    x, y = signal_of(shape, seed), signal_of(shape, seed + 1)
    for case in sources(shape, seed).values():
        if applies(method, case.source, shape):
            op = operator(case.source, shape, method=method)
            left, right = ((op @ x) * y).sum(), (x * (op.adjoint() @ y)).sum()
            assert abs(float(left - right)) <= 1e-12 * float((op @ x).norm() * y.norm())


@every_method
def test_adjoint_is_the_transposed_mask(method: str) -> None:
    """Of a kernel without symmetry, so that a missing flip would show; T is another name for it."""
    for shape in [(5,), (3, 4), (2, 3, 2)]:
        for case in sources(shape, 0).values():
            if applies(method, case.source, shape):
                op = operator(case.source, shape, method=method)
                assert_close(op.adjoint().to_dense(), op.to_dense().mT)
                assert_close(op.T @ signal_of(shape, 1), op.to_dense().mT @ signal_of(shape, 1))
                assert_close(op.adjoint().adjoint().to_dense(), op.to_dense())


def test_the_adjoint_of_a_causal_decay_runs_backwards() -> None:
    """In float64 from γ itself, like the decay: its kernel, a module's, is rounded to float32."""
    for source in (RetNetMask(HEADS), Decay(torch.tensor([0.9, 0.99]), causal=True)):
        for size in (64, 1500):
            op = operator(source, size)
            assert op.T.methods == op.methods
            dot_test(op)
            dot_test(operator(source, size, "recursive"))
    gamma = uniform(0, 0.4, 0.95, HEADS).requires_grad_()
    op, x = operator(Decay(gamma, causal=True), 7, "recursive"), signal_of((7,), 0)
    dense = operator(Decay(gamma, causal=True).kernel(Grid(7)), 7, "dense")
    for ours, theirs in ((op.T @ x, dense.T @ x), (op.T.T @ x, dense @ x)):
        assert_close(ours, theirs)
        assert_close(*(torch.autograd.grad(y.square().sum(), gamma, retain_graph=True)[0] for y in (ours, theirs)))


def test_the_adjoint_of_an_adjoint_knows_what_the_operator_knew() -> None:
    """Of a causal decay too, whose adjoint is no causal decay: its recursion, its inverse and its determinant."""
    for source in (RetNetMask(HEADS), DecayMask(HEADS), Decay(uniform(0, 0.4, 0.95, HEADS), causal=True)):
        op = operator(source, 1500)
        again, x = op.T.T, signal_of((1500,), 0)
        assert again.methods == op.methods
        assert_exact(again.logdet(), op.logdet())
        assert again.solution(x).method == op.solution(x).method == "recursive"
        assert_close(again.T @ x, op.T @ x)


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("method", ["dense", "direct", "fft", "toeplitz", "auto"])
def test_gradcheck_in_signal_and_kernel(method: str, shape: Shape) -> None:
    kernel, x = kernel_of(shape, 0).requires_grad_(), signal_of(shape, 1, channels=2).requires_grad_()
    if applies(method, kernel, shape):
        assert torch.autograd.gradcheck(lambda k, v: operator(k, shape, method=method) @ v, (kernel, x))


@pytest.mark.parametrize("shape", SMALL)
@every_method
def test_gradcheck_in_factors(method: str, shape: Shape) -> None:
    """Of each axis of a sum of outer products."""
    factors = tuple(normal(d, HEADS, 2, 2 * n - 1).requires_grad_() for d, n in enumerate(shape))
    x = signal_of(shape, 1, channels=2)
    if applies(method, Separable(factors), shape):
        assert torch.autograd.gradcheck(lambda *f: operator(Separable(f), shape, method=method) @ x, factors)


@pytest.mark.parametrize("shape", [*SMALL, (67,)])
@pytest.mark.parametrize("method", ["separable", "recursive", "fft", "auto"])
def test_gradcheck_in_gamma(method: str, shape: Shape) -> None:
    """Whichever of factors and γ a method reads, the gradient reaches γ; on 67 tokens through several blocks."""
    gamma, x = uniform(0, 0.4, 0.95, HEADS).requires_grad_(), signal_of(shape, 1, channels=1)
    assert torch.autograd.gradcheck(lambda g: operator(Decay(g), shape, method=method) @ x, (gamma,))


@pytest.mark.parametrize("n", [5, 67])
def test_gradcheck_in_gamma_of_causal_decay(n: int) -> None:
    gamma, x = uniform(0, 0.4, 0.95, HEADS).requires_grad_(), signal_of((n,), 1, channels=1)

    def product(g: Tensor) -> Tensor:
        return operator(Decay(g, causal=True), n, method="recursive") @ x

    assert torch.autograd.gradcheck(product, (gamma,))


@pytest.mark.parametrize("method", [m for m in (*METHODS, "auto") if m != "dense"])
@every_grid
def test_gradients_of_all_methods_agree(shape: Shape, seed: int, method: str) -> None:
    """∂/∂x and ∂/∂γ of a decay, against the dense product; signals are positive, so that no sum cancels."""
    y = signal_of(shape, seed + 1).abs()

    def gradients(way: str) -> tuple[Tensor, ...]:
        gamma, x = uniform(seed, 0.3, 0.99, HEADS).requires_grad_(), signal_of(shape, seed).abs().requires_grad_()
        return torch.autograd.grad(((operator(Decay(gamma), shape, method=way) @ x) * y).sum(), (x, gamma))

    if applies(method, Decay(uniform(seed, 0.3, 0.99, HEADS)), shape):
        for actual, expected in zip(gradients(method), gradients("dense"), strict=True):
            assert_close(actual, expected)


@every_method
def test_gradients_through_blocks_of_channels(method: str) -> None:
    """With 150 channels the work is cut in blocks; in training they are joined, not written in place."""
    shape = (9, 8)
    for case in sources(shape, 0).values():
        if applies(method, case.source, shape):
            x = signal_of(shape, 1, channels=150).requires_grad_()
            y = signal_of(shape, 2, channels=150)
            op = operator(case.source, shape, method=method)
            (gradient,) = torch.autograd.grad(((op @ x) * y).sum(), (x,))
            assert_close(gradient, op.to_dense().mT @ y)
            with torch.no_grad():
                silent = op @ x
            assert_close(silent, (op @ x).detach())


def test_gradient_in_the_kernel_is_the_fold_of_the_outer_product() -> None:
    """∂⟨y, M_K x⟩ / ∂K = ∂⟨y xᵀ, M_K⟩ / ∂K."""
    shape = (3, 4)
    kernel, x, y = kernel_of(shape, 0).requires_grad_(), signal_of(shape, 1), signal_of(shape, 2)
    (actual,) = torch.autograd.grad(((operator(kernel, shape, method="fft") @ x) * y).sum(), (kernel,))
    (expected,) = torch.autograd.grad((kernel_to_mask(kernel, shape) * (y @ x.mT)).sum(), (kernel,))
    assert_close(actual, expected)


@pytest.mark.parametrize("method", ["dense", "direct", "fft", "toeplitz"])
def test_the_gradient_of_an_even_kernel_has_an_odd_part(method: str) -> None:
    """As of a free table that starts at 1 everywhere: what is 0 in the kernel need not be 0 in its gradient."""
    x, g = signal_of((3, 5), 1), signal_of((3, 5), 2)
    kernel = torch.ones(HEADS, 5, 9, dtype=x.dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(operator(kernel, (3, 5), method) @ x, kernel, g)
    (expected,) = torch.autograd.grad(kernel_to_mask(kernel, (3, 5)) @ x, kernel, g)
    assert_close(gradient, expected)
    assert not torch.allclose(expected, expected.flip(-1))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("method", ["dense", "direct", "toeplitz"])
def test_vmap_over_kernels(method: str, even: bool) -> None:
    """Products and gradients, mapped over kernels, are those of each kernel."""
    x, kernels = signal_of((3, 5), 1), torch.stack([kernel_of((3, 5), seed) for seed in range(3)])
    kernels = kernels + kernels.flip(-1) if even else kernels

    def product(kernel: Tensor) -> Tensor:
        return operator(kernel, (3, 5), method) @ x

    def energy(kernel: Tensor) -> Tensor:
        return product(kernel).square().sum()

    assert_close(torch.func.vmap(product)(kernels), torch.stack([product(k) for k in kernels]))
    gradients = torch.stack([torch.func.grad(energy)(k) for k in kernels])
    assert_close(torch.func.vmap(torch.func.grad(energy))(kernels), gradients)
