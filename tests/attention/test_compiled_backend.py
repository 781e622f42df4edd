"""Compiled loops are the reference: output alone, since they keep nothing for a backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from retconv.attention import (
    BACKENDS,
    PLACEMENTS,
    attend,
    backends,
    bias_logits,
    compiled_backend,
    multiply_logits,
    short_loops,
)
from retconv.attention.cuts import Cuts
from retconv.attention.inputs import Call
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import DecayMask, Forms, MaskLike
from retconv.operators import compiled
from tests.attention.cases import kernel_for, loops, qkv
from tests.compare import assert_close, assert_exact
from tests.flips import flipped_offsets  # noqa: F401
from tests.operators.cases import without_numba
from tests.strategies import HEADS, every_grid, normal

F32, F64 = torch.float32, torch.float64
PLACED = [name for name, names in BACKENDS.items() if "compiled" in names]
every_placement = pytest.mark.parametrize("placement", PLACED)
#: Shape and prefix of a grid, channels of a key and of a value, and heads of the mask. Tokens and channels fill fours
#: and blocks of queries or do not; there are more prefix tokens than one block has queries.
CASES: dict[str, tuple[Any, ...]] = {
    "one token": ((1,), 0, 1, 1, HEADS),
    "one token of a plane": ((1, 1), 3, 8, 4, HEADS),
    "row": ((1, 7), 0, 5, 9, 1),
    "oblong": ((3, 5), 2, 16, 16, HEADS),
    "box": ((2, 3, 4), 1, 3, 6, HEADS),
    "square of a block": ((8, 8), 0, 16, 16, HEADS),
    "more than a block": ((9, 8), 1, 8, 20, HEADS),
    "prefix of more than a block": ((3, 5), 70, 4, 4, HEADS),
    "most that it serves": ((16, 16), 0, 128, 128, 1),
}


def inputs(placement: str, name: str) -> tuple[list[Tensor], Grid]:
    """Queries, keys, values and a kernel, in float32."""
    shape, prefix, d, d_v, heads = CASES[name]
    grid = Grid(shape, prefix)
    given = [normal(i, 2, HEADS, grid.length, n, dtype=F32) for i, n in enumerate((d, d, d_v))]
    return [*given, kernel_for(placement, shape, 3, F32)[:heads]], grid


def check(placement: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, grid: Grid, **options: Any) -> Tensor:
    """The output, which is that of the formula in float64."""
    out = attend(q, k, v, mask, grid, placement=placement, backend="compiled", **options)
    wide = (x.double() for x in (q, k, v, mask))
    assert out.dtype == F32
    assert_close(out, attend(*wide, grid, placement=placement, backend="reference", **options))
    return out


@every_placement
@settings(max_examples=10)
@every_grid
def test_it_is_the_double_loop(shape: tuple[int, ...], seed: int, placement: str) -> None:
    grid = Grid(shape, prefix=seed % 3)
    given = [*qkv(grid, seed, F32), kernel_for(placement, shape, seed, F32)]
    found = attend(*given, grid, scale=0.7, placement=placement, backend="compiled")
    assert_close(found, loops(placement, *given, grid, None, 0.7)[0])


@every_placement
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_reference(placement: str, name: str) -> None:
    """By a kernel, and by entries, which give the same bits."""
    (q, k, v, kernel), grid = inputs(placement, name)
    by_kernel = check(placement, q, k, v, kernel, grid)
    assert_exact(check(placement, q, k, v, kernel_to_mask(kernel, grid), grid), by_kernel)
    entries = normal(7, kernel.shape[0], grid.length, grid.length, dtype=F32)
    check(placement, q, k, v, entries.abs() if placement == "bias_logits" else entries, grid)


@pytest.mark.usefixtures("flipped_offsets")
def test_a_flipped_sign_is_noticed() -> None:
    """With M[q, k] = K[q − k]; entries that are given have no sign."""
    (q, k, v, kernel), grid = inputs("multiply_logits", "oblong")
    found = multiply_logits(q, k, v, kernel, grid, scale=0.7, backend="compiled")
    expected, _ = loops("multiply_logits", q, k, v, kernel, grid, None, 0.7)
    with pytest.raises(AssertionError):
        assert_close(found, expected)


@every_placement
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_masks_are_cast_to_the_scores(placement: str, dtype: torch.dtype) -> None:
    (q, k, v, kernel), grid = inputs(placement, "oblong")
    found, expected = (
        attend(q, k, v, kernel.to(dtype), grid, placement=placement, backend=b) for b in ("compiled", "reference")
    )
    assert_close(found, expected)


@every_placement
@pytest.mark.parametrize("name", ["oblong", "more than a block"])
def test_strides_do_not_matter_and_inputs_stay(placement: str, name: str) -> None:
    """As timm makes them, channels apart, and one for all heads."""
    (*_, kernel), grid = inputs(placement, name)
    of_timm = normal(4, 2, grid.length, 3, HEADS, 8, dtype=F32).permute(2, 0, 3, 1, 4).unbind(0)
    apart = (normal(5, 2, HEADS, 6, 2 * grid.length, dtype=F32)[..., ::2].mT,) * 3
    shared = (normal(6, 1, 1, grid.length, 6, dtype=F32).expand(2, HEADS, -1, -1),) * 3
    for given in (of_timm, apart, shared):
        before = [x.clone() for x in given]
        found = check(placement, *given, kernel, grid)
        assert_exact(found, check(placement, *before, kernel, grid))
        for x, y in zip(given, before, strict=True):
            assert_exact(x, y)


@pytest.mark.parametrize("placement", ["multiply_logits", "bias_logits", "multiply_weights"])
@pytest.mark.parametrize("size", [30.0, 1e4, 1e18])
def test_large_logits_are_stable(placement: str, size: float) -> None:
    """Of either sign; what is far below the largest of a row weighs nothing."""
    (q, k, v, kernel), grid = inputs(placement, "oblong")
    assert bool(check(placement, q * size, k, v, kernel, grid).isfinite().all())
    ones = torch.ones_like(q)
    for sign in (-1, 1):
        check(placement, sign * size * ones, ones, v, kernel.abs() * 0 + 1, grid)


def test_hidden_keys_weigh_nothing_and_hidden_rows_are_0() -> None:
    """By entries and by a kernel, the first of which hides some rows, the second half of all keys."""
    (q, k, v, _), grid = inputs("bias_logits", "more than a block")
    entries = normal(7, HEADS, grid.length, grid.length, dtype=F32).abs()
    entries[:, :, ::3] = 0
    entries[0, [0, 5, 70]] = 0
    out = out_of_entries = check("bias_logits", q, k, v, entries, grid)
    assert not out[:, 0, [0, 5, 70]].any()
    assert out[:, 1].all()
    line, causal = Grid(100), torch.ones(HEADS, 199)
    causal[:, 50:] = 0
    x = normal(8, 2, HEADS, 100, 4, dtype=F32)
    out = check("bias_logits", x, x, x, causal, line)
    assert not out[:, :, :50].any()
    assert out[:, :, 50:].all()
    # A hidden key has no say, whatever it is.
    other = k.clone()
    other[:, :, ::3] = 1e30
    assert_exact(check("bias_logits", q, other, v, entries, grid), out_of_entries)


@every_placement
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_stays_none(placement: str, value: float) -> None:
    """Where the formula has none, and nowhere else."""
    for at in range(4):
        (*given, kernel), grid = inputs(placement, "oblong")
        given.append(kernel_to_mask(kernel, grid))
        given[at] = given[at].clone()
        given[at].view(-1)[40] = value
        found, expected = (
            attend(*given, grid, placement=placement, backend=b).isfinite() for b in ("compiled", "reference")
        )
        assert_exact(found, expected)
        assert not found.all()


def test_exponentials_are_within_one_unit_of_the_last_place() -> None:
    x = np.linspace(-86.9, 0, 20001, dtype=np.float32)
    found, exact = np.array([short_loops.exp(a) for a in x]), np.exp(x.astype(np.float64))
    assert float((np.abs(found - exact) / np.spacing(exact.astype(np.float32))).max()) < 1
    assert short_loops.exp(np.float32(0)) == 1
    for lowest in (-87.1, -1e30, -np.inf):
        assert short_loops.exp(np.float32(lowest)) == 0
    assert np.isnan(short_loops.exp(np.float32("nan")))


@every_placement
def test_threads_share_heads(placement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is computed as by one thread, and whatever else is in the batch."""
    (q, k, v, kernel), grid = inputs(placement, "more than a block")
    alone = check(placement, q, k, v, kernel, grid)
    monkeypatch.setattr(compiled, "ENTRIES", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_exact(check(placement, q, k, v, kernel, grid), alone)
    assert_exact(check(placement, q[1:], k[1:], v[1:], kernel, grid), alone[1:])


@every_placement
def test_an_empty_batch_has_an_empty_result(placement: str) -> None:
    (q, k, v, kernel), grid = inputs(placement, "box")
    assert attend(q[:0], k[:0], v[:0], kernel, grid, placement=placement, backend="compiled").shape == (0, *v.shape[1:])
    assert attend(q, k, v[..., :0], kernel, grid, placement=placement, backend="compiled").shape == (*v.shape[:3], 0)


def choice(placement: str, length: int, d: int = 16, mask: MaskLike | None = None, **options: Any) -> str:
    x = torch.zeros(1, HEADS, length, d, dtype=options.pop("dtype", F32))
    given = DecayMask(HEADS, "two_sided") if mask is None else mask
    given = Forms.of(given, Grid(length))
    call = {"bias": None, "dropout_p": 0.0} | options
    return backends.choose(Call(PLACEMENTS[placement], x, x, x, given, 1.0, **call))


def test_auto_takes_them_where_they_are_measured_faster() -> None:
    for placement in ("multiply_logits", "bias_logits", "multiply_weights"):
        for length in (48, 64, 256):
            assert choice(placement, length) == "compiled"
        for length in (16, 47, 257):
            assert choice(placement, length) != "compiled"
    assert choice("multiply_logits", 64, 32) == "compiled"
    assert choice("multiply_logits", 64, 33) == "reference"
    assert choice("bias_logits", 64, 17) == "sdpa"
    assert choice("retention", 64) == "reference"
    assert choice("convolution", 64) == "operator"
    assert choice("multiply_logits", 64, dtype=torch.float64) == "reference"
    assert choice("multiply_logits", 64, dropout_p=0.1) == "reference"
    assert choice("multiply_logits", 64, bias=torch.zeros(64, 64)) == "reference"
    learnt = DecayMask(HEADS, "two_sided", learnable=True)
    assert choice("multiply_logits", 64, mask=learnt) == "reference"
    with torch.no_grad():
        assert choice("multiply_logits", 64, mask=learnt) == "compiled"
    with without_numba():
        assert choice("multiply_logits", 64) == "reference"
        assert choice("bias_logits", 64) == "sdpa"


def _of_queries(call: Any, k: Tensor, v: Tensor, kernel: Tensor, grid: Grid, q: Tensor) -> Tensor:
    return call(q, k, v, kernel, grid)


def test_whoever_watches_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd, transforms, tracers and tensors without values go by operations of torch."""
    monkeypatch.setattr(backends, "CUTS", Cuts(short=1))
    (q, k, v, kernel), grid = inputs("bias_logits", "oblong")
    ran = []

    def counted(call: Call) -> Tensor:
        ran.append(call)
        return compiled_backend.attend(call)

    monkeypatch.setitem(backends._RUN, "compiled", counted)
    for call in (multiply_logits, bias_logits):
        run = partial(_of_queries, call, k, v, kernel, grid)
        plain = run(q)
        with torch.inference_mode():
            assert_exact(run(q), plain)
        assert len(ran) == 2
        ran.clear()
        assert_close(torch.vmap(run)(q[None])[0], plain)
        assert_close(torch.func.jvp(run, (q,), (q,))[0], plain)
        assert_close(torch.compile(run, backend="eager", fullgraph=True)(q), plain)
        learnt = q.clone().requires_grad_()
        (slope,) = torch.autograd.grad(run(learnt).sum(), learnt)
        assert_close(torch.func.grad(lambda q, run=run: run(q).sum())(q), slope)
        if call is multiply_logits:  # a logarithm looks at its values
            assert_close(make_fx(run)(torch.zeros_like(q))(q), plain)
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                assert run(mode.from_tensor(q)).shape == plain.shape
        assert not ran


def test_its_dtype_is_that_of_queries_whatever_the_default() -> None:
    given, grid = inputs("multiply_logits", "oblong")
    before = torch.get_default_dtype()
    torch.set_default_dtype(F64)
    try:
        out = attend(*given[:3], given[3], grid, placement="multiply_logits", backend="compiled")
    finally:
        torch.set_default_dtype(before)
    assert out.dtype == F32
