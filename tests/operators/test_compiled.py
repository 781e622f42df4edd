"""Compiled loops of a decay: the numbers of torch's operations and of double loops, whoever watches; without numba."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from retconv.checks import relative_error, tolerance
from retconv.grid import Grid
from retconv.kernels import Decay
from retconv.operators import MaskOperator, compiled, loops, operator
from retconv.operators.recursive import RecursiveProduct
from tests.compare import assert_close, assert_exact
from tests.operators.cases import Shape, check_against_loops, without_numba
from tests.strategies import DTYPES, every_grid, normal, seeds, uniform

ROOT = Path(__file__).parents[2]
#: Blocks of torch's path divide some of these and not others; some are longer than float32 is carried, some not.
LARGER = [(65,), (130,), (67, 3), (3, 97), (20, 30), (5, 9, 11), (1, 40), (2, 1, 3), (600,), (2, 600), (70, 70)]


def product(gamma: Tensor, shape: Shape, causal: bool = False) -> MaskOperator:
    return operator(Decay(gamma, causal), shape, "recursive")


def runs(op: MaskOperator, x: Tensor) -> bool:
    """Whether the loops have run it."""
    prepared = op._product("recursive", x.dtype)
    assert isinstance(prepared, RecursiveProduct)
    return prepared._scan is not None


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_both_paths_agree_with_the_double_loop(shape: Shape, seed: int, dtype: torch.dtype) -> None:
    check_against_loops(shape, seed, "recursive", dtype)
    with without_numba():
        check_against_loops(shape, seed, "recursive", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LARGER)
@pytest.mark.parametrize(("heads", "columns"), [(1, 1), (1, 37), (3, 16)])
def test_paths_agree(shape: Shape, heads: int, columns: int, dtype: torch.dtype) -> None:
    """On every kind of axis, number of heads and of columns."""
    gamma = uniform(1, 0.1, 0.999, heads, dtype=dtype)
    x = normal(2, heads, Grid(shape).size, columns, dtype=dtype)
    for causal in (False, True) if len(shape) == 1 else (False,):
        op = product(gamma, shape, causal)
        found = op @ x
        assert runs(op, x)
        with without_numba():
            assert_close(found, op @ x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gamma", [1e-3, 0.9, 1 - 1e-9, 1.0])
@given(size=st.integers(1, 700), seed=seeds)
def test_any_gamma_on_a_line(size: int, seed: int, gamma: float, dtype: torch.dtype) -> None:
    x, gammas = normal(seed, 2, size, 2, dtype=dtype), torch.tensor([gamma, gamma / 2], dtype=torch.float64)
    for causal in (False, True):
        expected = product(gammas, (size,), causal).to_dense() @ x.double()
        assert_close(product(gammas, (size,), causal) @ x, expected)


def test_no_decay_at_all_is_a_sum() -> None:
    """γ = 1 weighs every token alike."""
    x = normal(0, 1, 24, 5)
    for shape in ((24,), (4, 6), (2, 3, 4)):
        assert_close(product(torch.ones(1).double(), shape) @ x, x.sum(1, keepdim=True).expand_as(x))
    assert_close(product(torch.ones(1).double(), (24,), causal=True) @ x, x.cumsum(1))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rate", [0.0, 1e-6, 1e-3])
def test_roundings_do_not_add_up_over_a_long_line(rate: float, causal: bool) -> None:
    """Sums of 65,536 equal numbers, which float32 rounds to the same side again and again."""
    x = torch.full((1, 2**16, 1), 0.1)
    gamma = torch.tensor([1 - rate], dtype=torch.float64)
    found, expected = (product(gamma, (2**16,), causal) @ signal for signal in (x, x.double()))
    assert relative_error(found, expected) <= tolerance(torch.float32) / 10


@pytest.mark.parametrize("shape", [(64,), (512,), (300, 20), (20, 300)])
@pytest.mark.parametrize("rate", [0.0, 1e-5, 1e-3])
def test_slow_decays_keep_their_weights(rate: float, shape: Shape) -> None:
    """In float32 a γ of 1 − 1e-5 has a rate 7e-4 off, and a recursion rounds all numbers to one side."""
    gamma, size = torch.tensor([1 - rate], dtype=torch.float64), Grid(shape).size
    impulse = torch.zeros(1, size, 1)
    impulse[:, 0] = 1
    for x in (impulse, torch.full_like(impulse, 0.1), normal(0, 1, size, 1, dtype=torch.float32)):
        found, expected = (product(gamma, shape) @ signal for signal in (x, x.double()))
        assert relative_error(found, expected) <= tolerance(torch.float32) / 2


def test_strides_do_not_matter_and_the_input_stays() -> None:
    x = normal(1, 2, 10, 24).mT[:, ::2, 1:8]
    before = x.clone()
    op = product(uniform(0, 0.3, 0.9, 2), (3, 4))
    assert_exact(op @ x, op @ before)
    assert_exact(x, before)


@pytest.mark.parametrize("shape", [(0,), (0, 2)])
def test_empty_inputs(shape: Shape) -> None:
    op = product(torch.tensor([0.5, 0.9]), (3, 4))
    x = torch.zeros(*shape[1:], 2, 12, shape[0])
    assert (op @ x).shape == x.shape
    assert (op @ torch.zeros(0, 2, 12, 3)).shape == (0, 2, 12, 3)


@pytest.mark.parametrize("shape", [(0, 12, 3), (2, 0, 12, 3), (0, 0, 12, 3)])
def test_an_operator_of_no_heads(shape: Shape) -> None:
    op, x = operator(torch.ones(0, 5, 7), (3, 4)), torch.zeros(shape)
    assert (op @ x).shape == (op.T @ x).shape == op.solve(x).shape == x.shape
    with torch.autocast("cpu", torch.bfloat16):
        assert (op @ x).shape == x.shape


def test_a_long_line_keeps_the_tolerance_without_numba() -> None:
    """γ near 1, rounded to float32 and carried from token to token, would not."""
    x = uniform(0, 0.0, 1.0, 1, 4096, 8192)
    gamma = torch.tensor([1 - 1e-5], dtype=torch.float64)
    with without_numba():
        found = operator(Decay(gamma), 4096, "recursive") @ x.float()
    assert_close(found[..., :3].double(), operator(Decay(gamma), 4096, "recursive") @ x[..., :3], torch.float32)


@pytest.mark.parametrize(("shape", "causal"), [((5,), False), ((5,), True), ((2, 3), False), ((2, 1, 2), False)])
def test_gradients_in_the_signal_run_compiled(shape: Shape, causal: bool) -> None:
    """The adjoint of a causal decay is anticausal; the second derivative is the scan's again."""
    op, x = product(uniform(0, 0.4, 0.95, 2), shape, causal), normal(1, 2, Grid(shape).size, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: op @ x, (x,))
    assert torch.autograd.gradgradcheck(lambda x: (op @ x).square(), (x,))
    assert runs(op, x.detach())
    (op @ x).sum().backward()
    assert_close(x.grad, op.to_dense().mT @ torch.ones_like(x.detach()))


def test_a_gamma_that_is_learnt_has_its_gradient() -> None:
    """By operations of torch, and the signal's with it."""
    gamma, x = uniform(0, 0.4, 0.95, 2).requires_grad_(), normal(1, 2, 12, 3).requires_grad_()
    found, expected = (
        torch.autograd.grad((operator(Decay(gamma), (3, 4), method) @ x).square().sum(), (gamma, x))
        for method in ("recursive", "dense")
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs)


def test_whoever_watches_sees_the_same() -> None:
    """Transforms, forward mode, batched gradients, tracers and tensors without values go by operations of torch."""
    op, x = product(uniform(0, 0.4, 0.95, 2), (3, 4)), normal(1, 5, 2, 12, 3)
    dense = op.to_dense()
    assert runs(op, (op @ x[0]))
    assert_close(torch.vmap(lambda x: op @ x)(x), dense @ x)
    assert_close(torch.func.jvp(lambda x: op @ x, (x,), (x,))[1], dense @ x)
    assert_close(torch.func.grad(lambda x: (op @ x).sum())(x), dense.mT @ torch.ones_like(x))
    jacobians = [torch.autograd.functional.jacobian(lambda x: op @ x, x[0], vectorize=v) for v in (False, True)]
    assert_close(jacobians[0], jacobians[1])
    assert_close(make_fx(lambda x: op @ x)(torch.zeros_like(x))(x), dense @ x)
    assert_close(torch.compile(lambda x: op(x), backend="eager", fullgraph=True)(x), dense @ x)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert (op @ mode.from_tensor(x)).shape == x.shape
    with torch.inference_mode():
        assert_close(op @ x, dense @ x)


@pytest.mark.parametrize(("heads", "columns"), [(1, 40), (2, 100), (7, 3)])
@pytest.mark.parametrize("shape", [(30,), (5, 6), (600,)])
def test_threads_share_heads_and_columns(
    shape: Shape, heads: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry is computed as by one thread."""
    x = normal(0, heads, Grid(shape).size, columns, dtype=torch.float32)
    op = product(uniform(1, 0.3, 0.9, heads), shape)
    alone = op @ x
    monkeypatch.setattr(compiled, "ENTRIES", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_exact(op @ x, alone)


@given(heads=st.integers(1, 9), columns=st.integers(1, 200), count=st.integers(1, 9))
def test_parts_are_a_partition(heads: int, columns: int, count: int) -> None:
    done = torch.zeros(heads, columns)
    for start, end, left, right in compiled.parts(heads, columns, count):
        done[start:end, left:right] += 1
    assert_exact(done, torch.ones(heads, columns))


def test_loops_compile_where_no_folder_can_keep_them() -> None:
    """A function of no file has none."""
    scope: dict[str, object] = {}
    exec("def twice(x):\n    return 2 * x", scope)
    assert loops.jit(scope["twice"])(3) == 6  # type: ignore[arg-type]


#: Run in a new interpreter, in which numba is not there.
HIDDEN = """
import sys
sys.modules["numba"] = None
import torch
from retconv import DecayMask, RetNetMask, operator
from retconv.checks import relative_error
from retconv.operators import compiled
from retconv.retention import Decoder, recurrent
from retconv.attention import multiply_logits
assert compiled.loops() is None
op, x = operator(DecayMask(2), (14, 14)), torch.randn(2, 196, 16)
assert relative_error(op @ x, op.to_dense() @ x) < 1e-5
q, k, v = torch.randn(3, 1, 2, 1, 4)
assert relative_error(Decoder(RetNetMask(2)).step(q, k, v), recurrent(q, k, v, RetNetMask(2))[0]) < 1e-5
q, k, v = torch.randn(3, 1, 2, 64, 4)
multiply_logits(q, k, v, DecayMask(2), (8, 8))
assert not any(name.startswith(("numba", "llvmlite")) and sys.modules[name] for name in sys.modules)
"""


def test_without_numba_all_is_there() -> None:
    subprocess.run([sys.executable, "-c", HIDDEN], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
