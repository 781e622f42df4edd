"""Systems with masks: every method against exact fractions, its own claims, and the dense mask's derivatives."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import torch
from torch import Tensor

from retconv.checks import relative_error, tolerance
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Decay, Separable, euclidean_decay, gaussian
from retconv.masks import DecayMask, GaussianMixtureMask, RetNetMask
from retconv.memory import dense_limit
from retconv.operators import SOLVE_METHODS, MaskOperator, SolveError, operator
from retconv.operators.conjugate import Circulant, ConjugateGradients
from tests.compare import assert_close, assert_exact
from tests.operators import naive_solve
from tests.operators.cases import without_numba
from tests.operators.solving import F64, SHAPES, Shape, systems
from tests.strategies import DTYPES, HEADS, normal, signal_of, uniform

#: A line beyond what is eliminated unasked, and a plane.
LONG, PLANE = 1100, (40, 30)

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.mark.parametrize("dtype", DTYPES)
@every_shape
def test_every_method_agrees_with_elimination_in_fractions(shape: Shape, dtype: torch.dtype) -> None:
    """Its numbers, and the error that residual and condition number allow."""
    y = signal_of(shape, 3, dtype)
    for name, system in systems(shape, 1, dtype).items():
        expected = system.answer(shape, y)
        op = operator(system.mask, shape)
        for method in (*system.methods, "auto"):
            x = op.solve(y, method, tolerance=1e-8 if dtype == F64 else 1e-7)
            assert x.dtype == dtype, name
            solution = op.solution(y.double(), method)
            assert float(solution.residual.max()) <= 1e-8
            assert solution.method == method or method == "auto"
            assert (solution.iterations > 0) == (solution.method == "cg"), name
            if solution.method != "cg":
                assert_close(x, expected)
            if math.isfinite(float(solution.condition[0])):
                slack = math.sqrt(len(y[0]) * y.shape[2]) * (solution.condition * solution.residual).max()
                assert relative_error(solution.x, expected) <= float(slack) + tolerance(dtype)


@every_shape
def test_the_adjoint_is_solved_for(shape: Shape) -> None:
    """Also of a causal decay, whose adjoint is none."""
    y = signal_of(shape, 4)
    for system in systems(shape, 2).values():
        expected = torch.linalg.solve(kernel_to_mask(system.kernel, shape).mT, y)
        assert_close(operator(system.mask, shape).T.solve(y), expected)
    if len(shape) == 1:
        assert operator(RetNetMask(HEADS), shape).T.solution(y.float()).method == "recursive"


@every_shape
def test_logdet_agrees_with_fractions(shape: Shape) -> None:
    for system in systems(shape, 5).values():
        expected = [naive_solve.log(naive_solve.determinant(mask)) for mask in system.entries(shape)]
        assert_close(operator(system.mask, shape).logdet(), torch.tensor(expected, dtype=F64))


@pytest.mark.parametrize("gamma", [1e-3, 0.5, 0.999, 1 - 1e-12])
def test_logdet_of_a_decay_is_its_formula(gamma: float) -> None:
    """``log(1 − γ²)`` once for each pair of neighbours, on grids that no mask could be formed of."""
    given, log = torch.tensor([gamma], dtype=F64), math.log1p(-gamma) + math.log1p(gamma)
    for shape, pairs in (((100, 200), 100 * 199 + 99 * 200), ((2, 3, 4), 24 * 3 - 12 - 8 - 6), ((7,), 6), ((1, 1), 0)):
        assert operator(Decay(given), shape).logdet().tolist() == pytest.approx([pairs * log], rel=1e-14)
    assert operator(Decay(given, causal=True), 50).logdet().tolist() == [0.0]


@pytest.mark.parametrize("shape", [(32,), (64,), (14, 14)], ids=str)
def test_logdet_of_a_gaussian_is_its_product_or_refused(shape: Shape) -> None:
    """``∏_k (1 − q^k)^(n − k)`` of a line, ``q = e^(−1/σ²)``: wide ones are singular to every precision at hand."""
    given = []
    for sigma in (0.5, 1.0, 2.0, 3.0, 5.0):
        q, size = math.exp(-1 / sigma**2), math.prod(shape)
        lines = [sum((n - k) * math.log1p(-(q**k)) for k in range(1, n)) * (size // n) for n in shape]
        squares = [(torch.arange(1 - n, n, dtype=F64) / sigma).square() for n in shape]
        op = operator(Separable(tuple((-x / 2).exp()[None, None] for x in squares)), shape)
        with suppress(SolveError):
            given.append(abs(op.logdet().item() - sum(lines)))
    assert 3 <= len(given) <= 4
    assert max(given) < 0.1


def test_logdet_of_a_triangular_mask_is_its_diagonal() -> None:
    """However far it is from normal; and it has a slope in what is 0."""
    kernel = torch.tensor([0.0, 2.0, 0.5, 0.0, 0.0], dtype=F64).repeat(2, 1).requires_grad_()
    long = torch.cat([torch.zeros(2, 61), kernel, torch.zeros(2, 61)], dim=1).to(F64)
    logs = operator(long, 64).logdet()
    assert logs.tolist() == [64 * math.log(0.5)] * 2
    (slope,) = torch.autograd.grad(operator(kernel, 3).logdet().sum(), kernel)
    assert slope[0].tolist() == pytest.approx([0.0, 0.0, 3 / 0.5, -2 * 2 / 0.25, 4 / 0.125])


@pytest.mark.parametrize("shape", [(65,), (700,), (67, 3), (3, 97), (20, 30), (5, 9, 11), (1, 40), (2, 1, 3)], ids=str)
@pytest.mark.parametrize(("heads", "columns"), [(1, 1), (3, 16), (2, 3000)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_paths_of_a_decay_agree(
    shape: Shape, heads: int, columns: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled, in runs of a few tokens that threads share, and by operations of torch; and it undoes the decay."""
    if math.prod(shape) * columns > 10**6:
        columns = 5
    gamma, y = uniform(1, 0.1, 0.95, heads, dtype=dtype), normal(2, heads, math.prod(shape), columns, dtype=dtype)
    for causal in (False, True) if len(shape) == 1 else (False,):
        op = operator(Decay(gamma, causal), shape)
        for one in (op, op.T):
            x = one.solve(y)
            with without_numba():
                assert_close(x, one.solve(y))
            monkeypatch.setattr("retconv.operators.compiled.ENTRIES", 1)
            monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
            assert_exact(one.solve(y), x)
            monkeypatch.undo()
        assert float(op.solution(y.double()).residual.max()) <= 1e-12


def test_gradients_of_every_order() -> None:
    """In y and in the kernel, or γ, of every method; conjugate gradients keep a kernel even."""
    grid, line, y = (2, 3), (6,), normal(0, HEADS, 6, 2).requires_grad_()
    even = euclidean_decay(Grid(grid).offsets(), uniform(1, 0.3, 0.6, HEADS)).requires_grad_()
    free, gamma = systems(line, 1)["free"].kernel.requires_grad_(), uniform(1, 0.3, 0.6, HEADS).requires_grad_()
    factors = [x.requires_grad_() for x in systems(grid, 1)["outer"].mask.factors]  # type: ignore[union-attr]
    calls = [
        (lambda k, y: operator((k + k.flip((1, 2))) / 2, grid).solve(y, "cg", 1e-13), (even, y)),
        (lambda k, y: operator(k, line).solve(y, "levinson"), (free, y)),
        (lambda k, y: operator(k, line).solve(y, "dense"), (free, y)),
        (lambda a, b, y: operator(Separable((a, b)), grid).solve(y), (*factors, y)),
        (lambda g, y: operator(Decay(g), grid).solve(y), (gamma, y)),
        (lambda g, y: operator(Decay(g, True), line).T.solve(y), (gamma, y)),
        (lambda y: operator(Decay(gamma.detach()), grid).solve(y), (y,)),
        (lambda k: operator(k, line).logdet(), (free,)),
        (lambda a, b: operator(Separable((a, b)), grid).logdet(), tuple(factors)),
        (lambda g: operator(Decay(g), grid).logdet(), (gamma,)),
    ]
    for call, given in calls:
        assert torch.autograd.gradcheck(call, given, fast_mode=True)
        assert torch.autograd.gradgradcheck(call, given, fast_mode=True)


def test_gradients_reach_the_parameters_of_a_mask() -> None:
    """Those of the dense mask."""
    y = normal(0, HEADS, 15, 2)
    for mask in (GaussianMixtureMask(HEADS, 2).double(), DecayMask(HEADS, "euclidean", learnable=True).double()):
        with torch.no_grad():
            for parameter in mask.parameters():
                parameter.copy_(uniform(3, 0.3, 0.6, *parameter.shape))
        ours, theirs = operator(mask, (3, 5)).solve(y, "cg", 1e-13), torch.linalg.solve(mask((3, 5)), y)
        for p in mask.parameters():
            pair = [torch.autograd.grad(x.square().sum(), p, retain_graph=True)[0] for x in (ours, theirs)]
            assert relative_error(*pair) <= 1e-9


def solved(op: MaskOperator, y: Tensor) -> Tensor:
    return torch.stack([op.solve(part) for part in y])


@pytest.mark.parametrize("method", SOLVE_METHODS)
def test_batches_and_heads_are_those_of_products(method: str) -> None:
    """Any batch before the heads, all heads alike, one head for any number, nothing at all, and half types."""
    shape = (7,) if method == "levinson" else (2, 3)
    name = {"levinson": "free", "dense": "free"}.get(method, "decay")
    op, size = operator(systems(shape, 1)[name].mask, shape), math.prod(shape)
    y = normal(0, 2, 3, HEADS, size, 4)
    x = op.solve(y, method, 1e-12)
    assert_close(x[1, 2], op.solve(y[1, 2], method, 1e-13), torch.float32)
    assert_close(op @ x, y, torch.float32)
    assert op.solve(y[0, 0, 0], method).shape == (HEADS, size, 4)
    one = operator(op.kernel[:1], shape) if op.decay is None else operator(Decay(op.decay.gamma[:1]), shape)
    assert_close(one.solve(y, method, 1e-12)[:, :, 0], x[:, :, 0], torch.float32)
    for empty in (y[:0], y[..., :0]):
        assert op.solve(empty, method).shape == empty.shape
    assert not op.solve(torch.zeros_like(y), method).any()
    half = y.bfloat16()
    assert_close(op.solve(half, method), op.solve(half.double(), method))
    with torch.autocast("cpu", torch.bfloat16):
        assert_exact(op.solve(y.float(), method), operator(op.forms, shape).solve(y.float(), method))


@pytest.mark.parametrize(
    ("shape", "periodic", "methods"),
    [((9,), True, ("dense", "levinson", "cg")), ((8,), True, ("levinson", "cg")), ((4, 3), (True, False), ("cg",))],
    ids=str,
)
def test_rings_are_solved_for(shape: Shape, periodic: bool | tuple[bool, ...], methods: tuple[str, ...]) -> None:
    """By every method that takes no factors, with its gradient, and beyond what is eliminated unasked."""
    grid, y = Grid(shape, periodic=periodic), signal_of(shape, 5)
    kernel = euclidean_decay(grid.offsets(), uniform(6, 0.2, 0.4, HEADS)).requires_grad_()
    expected = torch.linalg.solve(kernel_to_mask(kernel, grid), y)
    (gradient,) = torch.autograd.grad(expected.square().sum(), kernel)
    for method in methods:
        x = operator(kernel, grid).solve(y, method, 1e-13)
        assert_close(x, expected)
        assert relative_error(torch.autograd.grad(x.square().sum(), kernel)[0], gradient) <= 1e-10
    for large in (Grid(LONG, periodic=True), Grid(PLANE, periodic=(False, True))):
        op, y = operator(DecayMask(1, gamma=0.3).double(), large), normal(7, 1, large.size, 1)
        assert relative_error(op @ op.solve(y), y) <= 1e-7


@pytest.mark.parametrize("method", SOLVE_METHODS)
def test_the_unit_of_a_right_side_does_not_matter(method: str) -> None:
    """To the bit, where squares would be 0 or infinite; each column has a unit of its own, and its residual is told."""
    shape = (9,) if method in ("levinson", "recursive") else (3, 5)
    op, y = operator(systems(shape, 1)["euclidean" if method == "cg" else "decay"].mask, shape), signal_of(shape, 5)
    unit = 2.0 ** torch.tensor([-600, 0, 600], dtype=F64)
    assert_exact(op.solve(unit * y, method) / unit, op.solve(y, method))
    assert float(op.solution(y, method).residual.max()) == float(op.solution(unit * y, method).residual.max())
    assert not op.solve(0 * y, method).any()


def test_large_planes_are_solved_without_the_mask() -> None:
    """128×128 tokens to 1e-8; a Gaussian of σ = 1.5 is refused with the condition number that its symbol says."""
    shape = (128, 128)
    offsets, y = Grid(shape).offsets(), normal(0, 1, 128**2, 1)
    one = torch.ones(1, dtype=F64)
    with dense_limit(2**22):
        for kernel, steps in ((euclidean_decay(offsets, 0.9 * one), 120), (gaussian(offsets, one), 60)):
            solution = operator(kernel, shape).solution(y)
            assert solution.method == "cg"
            assert 0 < solution.iterations <= steps
            assert float(solution.residual.max()) <= 1e-8
        with pytest.raises(SolveError, match=r"condition number of at least 1e\+09, about 1.1e\+09 by its symbol") as e:
            operator(gaussian(offsets, 1.5 * one), shape).solve(y)
        assert e.value.condition == pytest.approx(1.13e9, rel=0.05)
        # Of the Gaussian itself there are factors, and each axis has a condition number of 3e4 only.
        mask = GaussianMixtureMask.from_parameters(1.5 * one[:, None], one[:, None])
        solution = operator(mask, shape).solution(y)
        assert solution.method == "separable"
        assert float(solution.residual.max()) <= 1e-8


@pytest.mark.parametrize("shape", [(30,), (6, 9), (3, 4, 5)], ids=str)
def test_condition_numbers_are_bounded(shape: Shape) -> None:
    """From below and, where the torus is positive, from above; Chan's circulant lies within."""
    gamma = torch.tensor([0.5, 0.95], dtype=F64)
    for kernel in (euclidean_decay(Grid(shape).offsets(), gamma), gaussian(Grid(shape).offsets(), gamma)):
        values = torch.linalg.eigvalsh(kernel_to_mask(kernel, shape))
        condition, cg = values[:, -1] / values[:, 0], ConjugateGradients(kernel, Grid(shape), 1e-8)
        assert bool((cg.below <= condition * (1 + 1e-12)).all())
        assert bool((cg.above >= condition * (1 - 1e-12)).all())
        waves = Circulant(kernel, Grid(shape)).eigenvalues.flatten(1)
        assert bool(((waves >= values[:, :1] - 1e-12) & (waves <= values[:, -1:] + 1e-12)).all())


def test_rayleigh_quotients_estimate_where_the_torus_is_not_positive() -> None:
    """A slow decay is cut off at the border, so that its torus has no bound."""
    gamma, shape = torch.tensor([0.97], dtype=F64), (20, 20)
    op = operator(euclidean_decay(Grid(shape).offsets(), gamma), shape)
    values = torch.linalg.eigvalsh(op.to_dense()[0])
    assert bool(ConjugateGradients(op.kernel, op.grid, 1e-8).above.isinf().all())
    found = op.solution(normal(0, 1, 400, 1), "cg").condition
    assert 0.3 <= float(found / (values[-1] / values[0])) <= 1


def test_a_long_line_is_solved_by_levinson() -> None:
    """Of any Toeplitz mask, not symmetric, with its adjoint and its gradient in the kernel."""
    kernel = normal(0, 1, 2 * LONG - 1) * torch.exp(-torch.arange(1 - LONG, LONG).abs() / 3.0)
    kernel[:, LONG - 1] = 6
    y, kernel = normal(1, 1, LONG, 1), kernel.requires_grad_()
    solution = operator(kernel, LONG).solution(y)
    assert solution.method == "levinson"
    dense = torch.linalg.solve(kernel_to_mask(kernel, LONG), y)
    assert_close(solution.x, dense)
    gradients = [torch.autograd.grad((x * normal(2, *x.shape)).sum(), kernel)[0] for x in (solution.x, dense)]
    assert relative_error(*gradients) <= 1e-11


def test_negative_views_are_read_as_they_are() -> None:
    """Of which torch gives numpy nothing."""
    kernel = torch.tensor([[0.2, 0.1, 3.0, 0.4, 0.3]], dtype=torch.float64)
    y = normal(0, 1, 3, 2)
    view = torch.complex(torch.zeros_like(y), -y).conj().imag
    negative = torch.complex(torch.zeros_like(kernel), -kernel).conj().imag
    assert view.is_neg()
    expected = operator(kernel, 3).solve(y, "dense")
    assert_close(operator(negative, 3).solve(view, "levinson"), expected)
