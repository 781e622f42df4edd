"""Triton's kernels are the reference, on a GPU and under Triton's interpreter (``test_triton_calls`` starts that)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from retconv.attention import PLACEMENTS, attend, triton_backend
from retconv.grid import Grid
from retconv.masks import Forms
from tests.attention import fused
from tests.attention.cases import kernel_for
from tests.attention.fused import check_parameters, every_learnt_mask, inputs, results
from tests.compare import assert_close
from tests.strategies import HEADS, normal

F32 = torch.float32
#: The interpreter computes bfloat16 wrongly, in silence.
PLACES = [
    *(pytest.param("cpu", x, marks=pytest.mark.interpreted) for x in (F32, torch.float16)),
    *(pytest.param("cuda", x, marks=pytest.mark.cuda) for x in (F32, torch.float16, torch.bfloat16)),
]
everywhere = pytest.mark.parametrize(("device", "dtype"), PLACES)
in_float32 = pytest.mark.parametrize(("device", "dtype"), [p for p in PLACES if p.values[1] == F32])
every_placement = pytest.mark.parametrize("placement", [name for name, rules in PLACEMENTS.items() if rules.scores])
#: Shape and prefix of a grid, channels of a key and of a value, and heads of the mask.
CASES: dict[str, tuple[Any, ...]] = {
    "one token": ((1,), 0, 16, 16, HEADS),
    "line": ((7,), 9, 5, 20, 1),
    "square": ((4, 4), 0, 16, 32, HEADS),
    "oblong": ((3, 5), 2, 24, 7, HEADS),
    "box": ((2, 3, 4), 1, 33, 16, 1),
}
#: Three tiles or more each way, none of them full, by the bytes of a number.
TILES = {4: ((5, 14), 1, 16, 16, 1), 2: ((10, 13), 3, 8, 16, HEADS)}


check = partial(fused.check, backend="triton")


@everywhere
@every_placement
@pytest.mark.parametrize("name", [*CASES, "tiles"])
def test_kernels_are_the_reference(placement: str, name: str, device: str, dtype: torch.dtype) -> None:
    """Output, and gradients in q, k, v and the kernel."""
    case = CASES.get(name, TILES[dtype.itemsize])
    check(placement, inputs(placement, case, dtype, device, batch=3 if name in CASES else 1), Grid(*case[:2]))


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [F32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [16, 64, 80, 128])
@pytest.mark.parametrize("shape", [(8, 8), (14, 14), (32, 32), (16, 16, 16)])
@every_placement
def test_large_ones_are_the_reference(
    placement: str, shape: tuple[int, ...], channels: int, dtype: torch.dtype
) -> None:
    """Sizes that an interpreter has no time for, up to 4,096 tokens."""
    check(placement, inputs(placement, (shape, 1, channels, channels, HEADS), dtype, "cuda"), Grid(shape, 1))


@in_float32
@every_learnt_mask
def test_parameters_of_every_mask_learn(name: str, device: str, dtype: torch.dtype) -> None:
    check_parameters(name, "triton", device, dtype)


@in_float32
@pytest.mark.parametrize("size", [20, 40], ids=["one tile", "tiles"])
def test_rows_without_any_key_are_0(size: int, device: str, dtype: torch.dtype) -> None:
    """With finite gradients; and rows of which one tile is hidden are whole."""
    grid = Grid(size)
    leaves = inputs("bias_logits", ((size,), 0, 16, 16, HEADS), dtype, device, batch=1)
    with torch.no_grad():
        leaves["mask"][:, size // 2 :] = 0  # a token sees what is more than half of all tokens before it
    check("bias_logits", leaves, grid)
    hidden = -(-size // 2)
    out, *gradients = results("bias_logits", leaves, grid, leaves["v"], "triton")
    assert not out[:, :, :hidden].any()
    assert not gradients[0][:, :, :hidden].any()
    assert out[:, :, hidden:].all()


@in_float32
def test_a_large_common_logit_is_no_loss(device: str, dtype: torch.dtype) -> None:
    """Next to it the logarithm of a sum over keys would be rounded away."""
    grid = Grid(40)
    leaves = inputs("bias_logits", ((40,), 0, 16, 16, HEADS), dtype, device)
    log = torch.full_like(leaves["mask"], -1e9, requires_grad=False)
    leaves["mask"].requires_grad_(False)
    found, expected = (
        results_of_mask(Forms(grid, HEADS, {"kernel": leaves["mask"], "log": log}), leaves, grid, backend)
        for backend in ("triton", "reference")
    )
    for actual, one in zip(found, expected, strict=True):
        assert_close(actual.cpu(), one.cpu())


def results_of_mask(mask: Forms, leaves: dict[str, Tensor], grid: Grid, backend: str) -> list[Tensor]:
    """Output and gradients in q, k and v under a mask of its own."""
    qkv = [leaves[name] for name in "qkv"]
    out = attend(*qkv, mask, grid, placement="bias_logits", backend=backend)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), qkv)]


@in_float32
def test_queries_keys_and_values_are_read_in_place(device: str, dtype: torch.dtype) -> None:
    """As timm makes them: one product for q, k and v, then a permutation; and the gradient of a sum has no strides."""
    grid = Grid((4, 5))
    packed = normal(4, 2, grid.length, 3, HEADS, 16).to(device, dtype).requires_grad_()
    kernel = kernel_for("multiply_logits", grid.shape, 4, dtype).to(device)
    for loss in (torch.sum, lambda out: out.square().sum()):
        found, expected = (
            torch.autograd.grad(
                loss(
                    attend(*x.permute(2, 0, 3, 1, 4), kernel.to(x), grid, placement="multiply_logits", backend=backend)
                ),
                x,
            )[0]
            for x, backend in ((packed, "triton"), (packed.detach().double().requires_grad_(), "reference"))
        )
        assert_close(found.cpu(), expected.cpu())


@in_float32
@pytest.mark.parametrize("shared", [False, True], ids=["masks of their own", "one mask"])
@pytest.mark.parametrize("heads", [1, HEADS])
def test_several_models_at_once(heads: int, shared: bool, device: str, dtype: torch.dtype) -> None:
    """``vmap`` and then backward, as stacked models are trained: one call, further groups of the batch."""
    case = ((4, 5), 1, 16, 16, heads)
    q, k, v, kernel = inputs("multiply_logits", case, dtype, device, batch=6).values()
    models = [x.detach().unflatten(0, (3, 2)).requires_grad_() for x in (q, k, v)]
    table = kernel if shared else torch.stack([kernel, 2 * kernel, kernel.flip(1)]).detach().requires_grad_()
    call = partial(attend, grid=Grid(case[0], 1), placement="multiply_logits", scale=0.3)
    mapped = torch.vmap(partial(call, backend="triton"), in_dims=(0, 0, 0, None if shared else 0))(*models, table)
    tables = [table] * 3 if shared else table
    each = torch.stack([call(*one, backend="reference") for one in zip(*models, tables, strict=True)])
    upstream = normal(9, *each.shape).to(device, dtype)
    found, expected = (torch.autograd.grad(out, [*models, table], upstream) for out in (mapped, each))
    for actual, one in zip((mapped, *found), (each, *expected), strict=True):
        assert_close(actual.cpu(), one.cpu())


@in_float32
@pytest.mark.parametrize(("programs", "heads"), [(1, 1), (3, HEADS), (1000, 1)])
@pytest.mark.parametrize("size", [10, 40], ids=["one tile", "tiles"])
def test_every_element_is_in_one_share(
    size: int, heads: int, programs: int, device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many programs sum the gradient of a mask."""
    monkeypatch.setattr(triton_backend, "_programs", lambda device: programs)
    check("multiply_logits", inputs("multiply_logits", ((size,), 0, 16, 16, heads), dtype, device, 3), Grid(size))


@in_float32
@pytest.mark.parametrize(("placement", "learnt"), [("multiply_logits", True), ("retention", False)])
def test_operation_is_a_good_citizen_of_torch(placement: str, learnt: bool, device: str, dtype: torch.dtype) -> None:
    """Its schema, shapes without values and gradients are registered as ``torch.compile`` expects."""
    q, k, v, kernel = inputs(placement, ((2, 3), 0, 16, 8, 1), dtype, device).values()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    given = (q, k, v, kernel.requires_grad_(learnt), placement, 0.5, [2, 3], 0, 1)
    torch.library.opcheck(triton_backend._attend, given, test_utils=checks)


@in_float32
def test_it_compiles_as_one_graph(device: str, dtype: torch.dtype) -> None:
    *qkv, kernel = inputs("multiply_logits", ((4, 5), 0, 16, 16, HEADS), dtype, device).values()
    call = partial(attend, grid=(4, 5), placement="multiply_logits", backend="triton")
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    found, expected = (
        torch.autograd.grad(run(*qkv, kernel).square().sum(), [*qkv, kernel]) for run in (compiled, call)
    )
    for actual, one in zip(found, expected, strict=True):
        assert_close(actual.cpu(), one.cpu())


@everywhere
def test_nothing_of_the_size_of_a_mask_is_kept(device: str, dtype: torch.dtype) -> None:
    leaves = inputs("multiply_logits", ((8, 8), 0, 16, 16, HEADS), dtype, device)
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (sizes.append(x.numel()), x)[1], lambda x: x):
        attend(*leaves.values(), (8, 8), placement="multiply_logits", backend="triton")
    assert max(sizes) == leaves["q"].numel()


@in_float32
def test_an_empty_batch_has_an_empty_result(device: str, dtype: torch.dtype) -> None:
    leaves = inputs("multiply_logits", ((5,), 0, 16, 16, 1), dtype, device, batch=0)
    out, *gradients = results("multiply_logits", leaves, Grid(5), leaves["v"], "triton")
    assert out.shape == leaves["v"].shape
    assert not gradients[-1].any()
