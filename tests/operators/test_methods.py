"""The fast operator: every method is the same linear map as the double loop, and so are its gradients."""

import pytest
import torch

from retconv.checks import tolerance
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Decay, Separable
from retconv.masks import DecayMask, GaussianMixtureMask, KernelTableMask, Mask, RetNetMask
from retconv.memory import DenseLimitError, dense_limit
from retconv.operators import METHODS, operator
from retconv.operators.fft import fast_length
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.operators.cases import Shape, applies, check_against_loops, every_method, sources
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, normal, signal_of, uniform


@pytest.mark.parametrize("dtype", DTYPES)
@every_method
@every_grid
def test_agrees_with_the_double_loop(shape: Shape, seed: int, method: str, dtype: torch.dtype) -> None:
    """Y = M x on every grid, to 1e-12 in float64 and 1e-5 in float32."""
    check_against_loops(shape, seed, method, dtype)


@pytest.mark.parametrize(
    ("kind", "shape", "methods"),
    [
        ("free", (7,), {"dense", "direct", "fft"}),
        ("free", (3, 5), {"dense", "direct", "fft", "toeplitz"}),
        ("free", (2, 3, 4), {"dense", "direct", "fft", "toeplitz"}),
        ("separable", (7,), {"dense", "direct", "fft", "separable"}),
        ("separable", (3, 5), {"dense", "direct", "fft", "toeplitz", "separable"}),
        ("decay", (2, 3, 4), {"dense", "direct", "fft", "toeplitz", "separable", "recursive"}),
        ("causal", (7,), {"dense", "direct", "fft", "separable", "recursive"}),
    ],
)
def test_which_methods_apply(kind: str, shape: Shape, methods: set[str]) -> None:
    """So that no test over methods passes by trying none."""
    assert set(operator(sources(shape, 0)[kind].source, shape).methods) == methods


def all_masks(dtype: torch.dtype) -> list[tuple[Mask, Shape]]:
    gamma = torch.tensor([0.6, 0.93])
    sigma, alpha = uniform(0, 0.5, 3.0, HEADS, 3, dtype=dtype), normal(1, HEADS, 3, dtype=dtype)
    return [
        (RetNetMask(HEADS, gamma, learnable=True).to(dtype), (9,)),
        (DecayMask(HEADS, "manhattan", gamma, learnable=True).to(dtype), (4, 5)),
        (DecayMask(HEADS, "euclidean", gamma, learnable=True).to(dtype), (4, 5)),
        (GaussianMixtureMask.from_parameters(sigma, alpha), (4, 5)),
        (KernelTableMask.from_kernel(kernel_of((4, 5), 2, dtype)), (4, 5)),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@every_method
def test_masks_are_sources(method: str, dtype: torch.dtype) -> None:
    """``operator(mask, grid) @ x`` is ``mask(grid) @ x``, and gradients reach the mask's parameters."""
    for mask, shape in all_masks(dtype):
        if applies(method, mask, shape):
            x, y = signal_of(shape, 3, dtype), signal_of(shape, 4, dtype)
            product = operator(mask, shape, method=method) @ x
            assert_close(product, mask(shape) @ x)
            parameters = list(mask.parameters())
            actual = torch.autograd.grad((product * y).sum(), parameters)
            expected = torch.autograd.grad(((mask(shape) @ x) * y).sum(), parameters)
            for a, e in zip(actual, expected, strict=True):
                assert_close(a, e)


#: Passes of a method over D axes, each of which rounds its matrix and its result: two units of rounding. The cosine and
#: sine sums of Toeplitz blocks can be twice as large as what they transform.
PASSES = {
    "dense": (1, 0),
    "direct": (1, 0),
    "fft": (1, 0),
    "toeplitz": (6, 0),
    "separable": (1, 1),
    "recursive": (1, 1),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
@every_grid
def test_half_precision(shape: Shape, seed: int, method: str, dtype: torch.dtype) -> None:
    """The result is in x's dtype, within a budget of roundings of the float64 product: ε · passes · |K| |x|."""
    x = signal_of(shape, seed, dtype)
    for case in sources(shape, seed, torch.float32).values():
        if applies(method, case.source, shape):
            op = operator(case.source, shape, method=method)
            y = op @ x
            magnitude = op.to_dense().abs()
            if isinstance(case.source, Separable):
                magnitude = operator(Separable(tuple(f.abs() for f in case.source.factors)), shape).to_dense()
            constant, per_axis = PASSES[method]
            budget = tolerance(dtype) * (constant + per_axis * len(shape)) * float((magnitude @ x.float().abs()).max())
            assert y.dtype == dtype
            assert float((y.double() - op.to_dense().double() @ x.double()).abs().max()) <= budget


@every_method
@pytest.mark.parametrize("shape", [(65,), (130,), (67, 3), (3, 97), (20, 30), (5, 9, 11)])
def test_larger_grids(shape: Shape, method: str) -> None:
    """Recursions in several blocks, blocks that do not divide the axis, and transforms of awkward lengths."""
    x = signal_of(shape, 1)
    for case in sources(shape, 0).values():
        if applies(method, case.source, shape):
            kernel = torch.tensor(case.kernels, dtype=torch.float64).reshape(HEADS, *Grid(shape).kernel_shape)
            assert_close(operator(case.source, shape, method=method) @ x, kernel_to_mask(kernel, shape) @ x)


@every_method
@pytest.mark.parametrize(("shape", "channels"), [((6, 5), 1), ((6, 5), 17), ((2, 3, 4), 400), ((20, 30), 131)])
def test_any_number_of_channels(shape: Shape, channels: int, method: str) -> None:
    """Blocks of columns fit together, whatever their number; on 20×30 tokens there are several for each head."""
    x = signal_of(shape, 1, torch.float32, channels=channels)
    for case in sources(shape, 0, torch.float32).values():
        if applies(method, case.source, shape):
            kernel = torch.tensor(case.kernels, dtype=torch.float64).reshape(HEADS, *Grid(shape).kernel_shape)
            expected = kernel_to_mask(kernel, shape) @ x.double()
            assert_close(operator(case.source, shape, method=method) @ x, expected)


@every_method
def test_blocks_of_any_size(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the cache held 4 KiB only: every block boundary falls somewhere else, the result does not change."""
    monkeypatch.setattr("retconv.operators.columns.CPU_BLOCK_BYTES", 2**12)
    for shape, channels in (((9,), 50), ((6, 5), 37), ((2, 3, 4), 101)):
        x, y = (signal_of(shape, seed, channels=channels) for seed in (1, 2))
        for case in sources(shape, 0).values():
            if applies(method, case.source, shape):
                op = operator(case.source, shape, method=method)
                assert_close(op @ x, op.to_dense() @ x)
                signal = x.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(((op @ signal) * y).sum(), (signal,))
                assert_close(gradient, op.to_dense().mT @ y)


@every_method
def test_a_signal_without_heads_serves_all_heads(method: str) -> None:
    """``(N, d)`` is the same signal for every head."""
    shape = (3, 4)
    x = normal(1, 12, 5)
    for case in sources(shape, 0).values():
        if applies(method, case.source, shape):
            op = operator(case.source, shape, method=method)
            assert_close(op @ x, op.to_dense() @ x)


@every_method
@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3), (2, 1, 2)])
def test_leading_dimensions(lead: Shape, method: str) -> None:
    """The signal is ``(…, heads, N, d)``: each element of the batch on its own."""
    shape = (3, 4)
    x = normal(1, *lead, HEADS, 12, 5)
    for case in sources(shape, 0).values():
        if applies(method, case.source, shape):
            op = operator(case.source, shape, method=method)
            y = op @ x
            assert y.shape == x.shape
            each = torch.stack([op @ one for one in x.reshape(-1, HEADS, 12, 5)]).reshape(x.shape)
            assert_close(y, each)


@every_method
def test_one_head_serves_all_heads_of_the_signal(method: str) -> None:
    """A kernel of one head is broadcast."""
    shape = (3, 4)
    kernel, x = kernel_of(shape, 0, heads=1), normal(1, 2, 5, 12, 3)
    for source in (kernel, Decay(torch.tensor([0.8]).double())):
        if applies(method, source, shape):
            op = operator(source, shape, method=method)
            assert_close(op @ x, op.to_dense() @ x)


@every_method
def test_strides_do_not_matter(method: str) -> None:
    """A transposed, sliced signal gives the same as its contiguous copy, and is left as it was."""
    shape = (3, 4)
    x = normal(1, HEADS, 10, 24).mT[:, ::2, 1:8]
    before = x.clone()
    for case in sources(shape, 0).values():
        if applies(method, case.source, shape):
            op = operator(case.source, shape, method=method)
            assert_close(op @ x, op @ before)
    assert_exact(x, before)


@pytest.mark.parametrize("kind", ["free", "separable", "decay"])
@every_grid
def test_to_dense_is_the_mask(shape: Shape, seed: int, kind: str) -> None:
    case = sources(shape, seed)[kind]
    op = operator(case.source, shape)
    assert op.shape == (HEADS, Grid(shape).size, Grid(shape).size)
    assert_close(op.to_dense(), [naive.mask_of_kernel(kernel, shape) for kernel in case.kernels])


@every_grid
def test_auto_is_one_of_the_methods_that_apply(shape: Shape, seed: int) -> None:
    """``choose`` names the method that ``auto`` takes for a signal."""
    x = signal_of(shape, seed)
    for case in sources(shape, seed).values():
        op = operator(case.source, shape)
        assert op.method == "auto"
        assert op.choose(x) in op.methods


@pytest.mark.parametrize("method", [m for m in (*METHODS, "auto") if m != "dense"])
def test_only_dense_materialises_the_mask(method: str) -> None:
    """On 16×16 tokens, where the limit forbids even one head's mask."""
    shape = (16, 16)
    with dense_limit(256**2 * 4 - 1):
        for case in sources(shape, 0, torch.float32).values():
            if applies(method, case.source, shape):
                y = operator(case.source, shape, method=method) @ signal_of(shape, 1, torch.float32)
                assert bool(torch.isfinite(y).all())


def test_dense_is_refused_above_the_limit() -> None:
    with dense_limit(1000), pytest.raises(DenseLimitError, match=r"\(2, 256, 256\)"):
        operator(kernel_of((16, 16), 0), (16, 16), method="dense") @ signal_of((16, 16), 1)


def test_transform_lengths_are_the_smallest_fast_ones() -> None:
    """The smallest 2^a 3^b 5^c ≥ n, found by trying every number."""

    def smooth(n: int) -> bool:
        for p in (2, 3, 5):
            while n % p == 0:
                n //= p
        return n == 1

    for n in range(1, 600):
        assert fast_length(n) == next(m for m in range(n, 2 * n + 1) if smooth(m))


@pytest.mark.parametrize("columns", [1, 3, 8, 9])
def test_few_columns_on_long_rows(columns: int) -> None:
    """Outer products take a few columns from the right on axes that are long: the result is that of the mask."""
    for shape in ((33,), (2, 32), (2, 1, 35)):
        grid = Grid(shape)
        factors = Separable(tuple(normal(7 + d, 2, 2, 2 * n - 1) for d, n in enumerate(shape)))
        x = normal(5, 2, grid.size, columns)
        mask = kernel_to_mask(factors.kernel(), grid)
        assert_close(operator(factors, grid, "separable") @ x, mask @ x)


@pytest.mark.parametrize("unit", [1e-30, 1e36])
def test_sums_of_large_weights_overflow_no_sooner_than_the_product(unit: float) -> None:
    kernel = torch.full((1, 127, 127), unit)
    x = torch.full((1, 64 * 64, 1), 1e-4 / unit)
    for method in ("fft", "toeplitz"):
        assert_close(operator(kernel, (64, 64), method) @ x, torch.full_like(x, 0.4096))
