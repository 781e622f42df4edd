"""Laws 14 and 15: retention is convolution, and its forms are one function, with one gradient and one state."""

from __future__ import annotations

import io
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from retconv.checks import relative_error, shift_invariance_residual, tolerance
from retconv.convert import NotAConvolutionError, kernel_to_mask, mask_to_kernel
from retconv.grid import Grid
from retconv.kernels import Exponentials
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, MaskLike, RetNetMask
from retconv.retention import RetentionState, chunkwise, recurrent, retention, rotate, rotation_angles
from retconv.retention.functional import methods
from tests.compare import assert_close, assert_exact
from tests.retention import naive as naive_retention
from tests.retention.cases import AGREE, complex_uniform, inputs, two_sided
from tests.strategies import HEADS, every_grid, kernel_of, normal, seeds, uniform

#: γ from 1e-3 to 1 − 1e-6, dense towards both ends.
gammas = st.one_of(
    st.floats(-3, math.log10(0.9)).map(lambda exponent: 10**exponent),
    st.floats(-6, -1).map(lambda exponent: 1 - 10**exponent),
)


def decays(one: float, other: float) -> Tensor:
    """float64 gammas of two heads."""
    return torch.tensor([one, other], dtype=torch.float64)


@settings(max_examples=15)
@every_grid
def test_law_14_retention_is_convolution(shape: tuple[int, ...], seed: int) -> None:
    """``o_n = q_n · Σ_δ K[δ] (k vᵀ)_{n+δ}``, with the convolution by ``torch.nn.functional.convNd``."""
    q, k, v = inputs(math.prod(shape), seed)
    kernel = kernel_of(shape, seed)
    outer = torch.einsum("bhnd,bhne->bdehn", k, v).flatten(0, 2).unflatten(2, shape)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(shape)]
    convolved = convolve(outer, kernel[:, None], padding=[n - 1 for n in shape], groups=HEADS)
    states = convolved.flatten(2).unflatten(0, (len(q), k.shape[-1], v.shape[-1]))
    expected = torch.einsum("bhnd,bdehn->bhne", q, states)
    assert_close(retention(q, k, v, kernel, shape, scale=1.0), expected)


@settings(max_examples=25)
@given(size=st.integers(1, 150), chunk=st.integers(1, 70), d=st.integers(1, 9), one=gammas, other=gammas, seed=seeds)
@example(size=1, chunk=1, d=1, one=1e-3, other=1 - 1e-6, seed=0)
@example(size=129, chunk=64, d=16, one=1e-3, other=1 - 1e-6, seed=1)
def test_law_15_parallel_recurrent_chunkwise(
    size: int, chunk: int, d: int, one: float, other: float, seed: int
) -> None:
    """And fft and convolution, for RetNet's decay: to 1e-11 relative in float64; recurrent as the paper's loop."""
    q, k, v = inputs(size, seed, d=d)
    mask = RetNetMask(HEADS, decays(one, other)).double()
    expected = retention(q, k, v, mask, size, method="parallel")
    for method in ("tiled", "recurrent", "chunkwise", "fft", "convolution"):
        assert relative_error(retention(q, k, v, mask, size, method=method, chunk=chunk), expected) <= AGREE
    gamma = float(mask.gamma[1])
    if gamma ** max(size - 1, 0) > 0 and size <= 40:
        loop = naive_retention.recurrence(q[0, 1].tolist(), k[0, 1].tolist(), v[0, 1].tolist(), gamma, d**-0.5)
        assert_close(expected[0, 1], loop)


@settings(max_examples=20)
@given(size=st.integers(1, 150), chunk=st.integers(1, 70), d=st.integers(1, 9), one=gammas, other=gammas, seed=seeds)
def test_scan_agrees_on_a_line(size: int, chunk: int, d: int, one: float, other: float, seed: int) -> None:
    """Two-sided decay, and exponentials that differ between the sides."""
    q, k, v = inputs(size, seed, d=d)
    for mask in (DecayMask(HEADS, gamma=decays(one, other)).double(), two_sided(seed)):
        expected = retention(q, k, v, mask, size, method="parallel")
        assert relative_error(retention(q, k, v, mask, size, method="scan", chunk=chunk), expected) <= AGREE


@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)), d=st.integers(1, 5), one=gammas, other=gammas, seed=seeds
)
def test_scan_agrees_on_a_plane(shape: tuple[int, int], d: int, one: float, other: float, seed: int) -> None:
    """Manhattan decay by recursions along both axes."""
    q, k, v = inputs(math.prod(shape), seed, d=d)
    mask = DecayMask(HEADS, gamma=decays(one, other)).double()
    expected = retention(q, k, v, mask, shape, method="parallel")
    for method in ("scan", "fft", "convolution"):
        assert relative_error(retention(q, k, v, mask, shape, method=method), expected) <= AGREE


def causal_masks() -> dict[str, MaskLike]:
    return {
        "retnet": RetNetMask(HEADS, decays(0.7, 1 - 1e-6)),
        "exponentials": Exponentials(complex_uniform(0, HEADS, 3), complex_uniform(2, HEADS, 3)),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["retnet", "exponentials"])
@settings(max_examples=15)
@given(size=st.integers(2, 60), cut=st.floats(0.01, 0.99), seed=seeds)
def test_law_15_a_continued_sequence_has_the_same_bits(
    name: str, dtype: torch.dtype, size: int, cut: float, seed: int
) -> None:
    """Cut anywhere, stored to a file and continued: output and state are bit for bit those of the uncut sequence."""
    mask, at = causal_masks()[name], max(1, int(cut * size))
    q, k, v = inputs(size, seed, dtype)
    whole, end = recurrent(q, k, v, mask)
    first, state = recurrent(q[:, :, :at], k[:, :, :at], v[:, :, :at], mask)
    file = io.BytesIO()
    torch.save(state.state_dict(), file)
    file.seek(0)
    state = RetentionState.from_state_dict(torch.load(file, weights_only=True))
    assert state.position == at
    second, state = recurrent(q[:, :, at:], k[:, :, at:], v[:, :, at:], mask, state)
    assert_exact(torch.cat([first, second], dim=2), whole)
    assert torch.equal(state.memory, end.memory)
    assert state.position == end.position == size


@settings(max_examples=15)
@given(size=st.integers(2, 60), cut=st.floats(0.01, 0.99), chunk=st.integers(1, 20), seed=seeds)
def test_law_15_a_prompt_read_in_chunks_is_continued_by_steps(size: int, cut: float, chunk: int, seed: int) -> None:
    """Chunkwise → recurrent and chunkwise → chunkwise: states are the same up to rounding."""
    at = max(1, int(cut * size))
    q, k, v = inputs(size, seed)
    for mask in causal_masks().values():
        whole, end = recurrent(q, k, v, mask)
        _, state = chunkwise(q[:, :, :at], k[:, :, :at], v[:, :, :at], mask, chunk=chunk)
        for further in (recurrent, chunkwise):
            second, last = further(q[:, :, at:], k[:, :, at:], v[:, :, at:], mask, state)
            assert relative_error(second, whole[:, :, at:]) <= AGREE
            assert relative_error(torch.view_as_real(last.memory + 0j), torch.view_as_real(end.memory + 0j)) <= AGREE


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@settings(max_examples=15)
@given(size=st.integers(1, 30), gamma=gammas, seed=seeds)
def test_law_15_rotation_is_a_complex_pole(layout: str, size: int, gamma: float, seed: int) -> None:
    """Rotated q and k under γ give Re Σ_m (γ e^{−iθ})^(n−m) conj(q̂_n) k̂_m v_m, one complex pole for each pair."""
    q, k, v = inputs(size, seed, d=6)
    angles = rotation_angles(6)
    turned = [rotate(t, angles, layout=layout) for t in (q, k)]
    mask = RetNetMask(HEADS, gamma).double()
    actual = retention(*turned, v, mask, size, scale=1.0, method="chunkwise", chunk=7)
    q_hat, k_hat = (torch.complex(*_pairs(t, layout)) for t in (q, k))
    distance = torch.arange(size)[:, None] - torch.arange(size)
    poles = mask.gamma[:, None] * torch.exp(-1j * angles)  # shape: (heads, pairs)
    powers = torch.where(distance >= 0, poles[..., None, None] ** distance.clamp(min=0), 0)  # (heads, pairs, N, N)
    scores = torch.einsum("bhnp,bhmp,hpnm->bhnm", q_hat.conj(), k_hat, powers).real
    assert relative_error(actual, scores @ v) <= AGREE
    loop = naive_retention.rotated(q[0, 0, -1].tolist(), size - 1, angles.tolist(), layout == "half")
    assert_close(turned[0][0, 0, -1], loop)


def _pairs(x: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    return tuple(x.chunk(2, dim=-1)) if layout == "half" else (x[..., ::2], x[..., 1::2])


CASES = {
    "retnet": ((11,), lambda: RetNetMask(HEADS, decays(0.6, 0.95), learnable=True).double()),
    "two-sided": ((11,), lambda: DecayMask(HEADS, gamma=decays(0.6, 0.95), learnable=True).double()),
    "manhattan": ((3, 5), lambda: DecayMask(HEADS, gamma=decays(0.6, 0.95), learnable=True).double()),
    "gmm": ((3, 5), lambda: GaussianMixtureMask(HEADS, 2, "local", torch.Generator().manual_seed(0)).double()),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree(name: str) -> None:
    """In q, k, v and the mask's parameters, those of every form are those of parallel."""
    shape, make = CASES[name]
    upstream = normal(9, 2, HEADS, math.prod(shape), 4)
    expected: list[Tensor] = []
    for method in methods(Forms.of(make(), Grid(shape))):
        mask = make()
        leaves = [t.requires_grad_() for t in inputs(math.prod(shape), 3)]
        out = retention(*leaves, mask, shape, method=method, chunk=4, budget=1)
        gradients = torch.autograd.grad((out * upstream).sum(), [*leaves, *mask.parameters()])
        expected = expected or list(gradients)
        for actual, wanted in zip(gradients, expected, strict=True):
            assert relative_error(actual, wanted) <= AGREE, method


@pytest.mark.parametrize(
    ("shape", "method"),
    [((5,), "chunkwise"), ((5,), "recurrent"), ((5,), "scan"), ((2, 3), "tiled"), ((2, 3), "fft"), ((2, 3), "scan")],
)
def test_gradcheck(shape: tuple[int, ...], method: str) -> None:
    """Against finite differences, the mask's parameter included."""
    kind = RetNetMask if method in ("chunkwise", "recurrent") else DecayMask

    def run(q: Tensor, k: Tensor, v: Tensor, rate: Tensor) -> Tensor:
        mask = kind(HEADS, gamma=0.8, learnable=True).double()
        del mask.log_rate
        mask.log_rate = rate
        return retention(q, k, v, mask, shape, method=method, chunk=2, budget=1)

    size = math.prod(shape)
    leaves = [normal(i, 1, HEADS, size, 2).requires_grad_() for i in range(3)]
    assert torch.autograd.gradcheck(run, (*leaves, uniform(4, -2, 0, HEADS).requires_grad_()))


@pytest.mark.parametrize("size", [1, 2, 1000, 4097, 65_536])
def test_lengths_from_one_to_65536(size: int) -> None:
    """Linear forms agree at every length; γ of 1 − 1e-6 sees all of it."""
    q, k, v = (normal(i, 1, HEADS, size, 2) for i in range(3))
    mask = RetNetMask(HEADS, decays(1e-3, 1 - 1e-6)).double()
    expected = retention(q, k, v, mask, size, method="recurrent")
    for method in ("auto", "chunkwise", "fft"):
        assert relative_error(retention(q, k, v, mask, size, method=method), expected) <= AGREE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["recurrent", "chunkwise", "fft", "tiled", "parallel"])
def test_precision_budget_from_a_float64_reference(dtype: torch.dtype, method: str) -> None:
    """Half types: inputs are theirs, sums are those of float32, and the result is rounded once."""
    q, k, v = (t.to(dtype) for t in inputs(300, 0, d=8, e=8))
    mask = RetNetMask(HEADS)
    exact = retention(q.double(), k.double(), v.double(), RetNetMask(HEADS).double(), 300, method="parallel")
    actual = retention(q, k, v, mask, 300, method=method)
    assert actual.dtype == dtype
    budget = tolerance(torch.float32) * float(exact.abs().max())
    if dtype != torch.float32:
        budget = budget + torch.finfo(dtype).eps / 2 * exact.abs()
    assert bool(((actual.double() - exact).abs() <= budget).all())


@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (2, 3, 4)])
def test_raster_decay_has_a_kernel_of_its_own_grid_only(shape: tuple[int, ...]) -> None:
    """RetNet along the tokens in raster order depends on the raster distance, which the offset fixes: residual 0.

    Its kernel wraps around: the last token of a row is next to the first of the row below, at offset (1, 1 − n). On
    another width the numbers are others, so it cannot move between grids as ``DecayMask``'s does.
    """
    grid = Grid(shape)
    mask = RetNetMask(HEADS, decays(0.5, 0.9)).double()
    dense = mask(grid.size)
    assert float(shift_invariance_residual(dense, grid).max()) == 0
    kernel = mask_to_kernel(dense, grid)
    before = tuple(n - 1 for n in shape[:-1])
    assert_close(kernel[(slice(None), *(b - (i == len(before) - 1) for i, b in enumerate(before)), -1)], mask.gamma)
    wider = Grid((*shape[:-1], shape[-1] + 1))
    with pytest.raises(ValueError, match="kernel must be"):
        kernel_to_mask(kernel, wider)
    q, k, v = inputs(grid.size, 0)
    with pytest.raises(ValueError, match=rf"causal along one axis.*Grid\({grid.size}\)"):
        retention(q, k, v, mask, grid)
    assert_close(retention(q, k, v, kernel, grid), retention(q, k, v, mask, grid.size, method="recurrent"))


@pytest.mark.parametrize("shape", [(3, 5), (4, 4)])
def test_serpentine_decay_has_no_kernel(shape: tuple[int, int]) -> None:
    """Every other row read backwards, as scans of images often do: residual far from 0, and refused with it."""
    grid = Grid(shape)
    order = torch.arange(grid.size).reshape(shape)
    order[1::2] = order[1::2].flip(-1)
    place = order.flatten()  # where in the scan the token stands
    line = RetNetMask(HEADS, decays(0.5, 0.9)).double()(grid.size)
    dense = line[:, place[:, None], place]
    with pytest.raises(NotAConvolutionError, match="relative residual") as caught:
        mask_to_kernel(dense, grid)
    assert float(caught.value.residual.min()) > 0.1
