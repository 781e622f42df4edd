"""Every fast backend is the reference, gradients included, and keeps nothing large for backward."""

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv.attention import PLACEMENTS, attend, backends, multiply_logits, recompute
from retconv.attention.cuts import Cuts
from retconv.attention.inputs import Call
from retconv.bench.timing import peak_bytes
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import Forms, GaussianMixtureMask, MaskLike
from tests.attention.cases import BATCH, SOFTMAX, kernel_for, qkv
from tests.attention.cuts import (
    CUTS,
    F64,
    check_against_reference,
    check_hidden_rows,
    every_recomputed,
    set_products,
)
from tests.attention.portable import PORTABLE
from tests.compare import assert_close
from tests.strategies import HEADS, every_grid, kernel_of, normal


@pytest.mark.parametrize(("placement", "backend"), [("bias_logits", "sdpa"), ("convolution", "operator")])
@settings(max_examples=5)
@every_grid
def test_fused_backends_are_the_reference(shape: tuple[int, ...], seed: int, placement: str, backend: str) -> None:
    check_against_reference(placement, backend, shape, seed, F64)


def test_the_one_entry_of_a_single_token_is_a_kernel() -> None:
    """Of the shape of a mask too, on a grid of two axes."""
    check_against_reference("convolution", "operator", (1, 1), 0, F64)


@pytest.mark.parametrize(
    ("placement", "backend"), [(p, b) for p, bs in PORTABLE.items() for b in (*bs, "auto") if b != "channels"]
)
def test_float32_is_within_its_tolerance(placement: str, backend: str) -> None:
    """Against the reference in float64, gradients included."""
    check_against_reference(placement, backend, (6, 7), 2, torch.float32)


def test_strided_queries_keys_and_values_are_read_in_place() -> None:
    """As timm makes them: one product for q, k and v, then a permutation."""
    grid = Grid((4, 4))
    qkv_ = normal(4, BATCH, grid.length, 3, HEADS, 8).permute(2, 0, 3, 1, 4)
    kernel = kernel_of(grid.shape, 4)
    fast = multiply_logits(*qkv_, kernel, grid, backend="recompute")
    assert_close(fast, multiply_logits(*qkv_, kernel, grid, backend="reference"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_recomputed
def test_half_types_are_computed_in_float32(
    placement: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is faster: one rounding of inputs, which both share, and one of the result, half its last unit."""
    set_products(monkeypatch, half=False)
    grid = Grid((4, 5), prefix=1)
    inputs = [x.to(dtype) for x in (*qkv(grid, 15), kernel_for(placement, grid.shape, 15))]
    half = attend(*inputs, grid, backend="recompute", placement=placement)
    exact = attend(*(x.double() for x in inputs), grid, backend="reference", placement=placement)
    assert half.dtype == dtype
    assert_close(half, exact)


def test_autocast_reaches_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    set_products(monkeypatch, half=False)
    grid = Grid((4, 5), prefix=1)
    q, k, v = (x.to(torch.bfloat16).requires_grad_() for x in qkv(grid, 16))
    mask = GaussianMixtureMask(HEADS, start="local", generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = multiply_logits(q, k, v, mask, grid, backend="recompute")
    out.float().square().sum().backward()
    assert out.dtype == torch.bfloat16
    assert_close(out, multiply_logits(q.double(), k.double(), v.double(), mask.double(), grid, backend="reference"))


def saved(out_of: object, largest: int) -> tuple[int, int]:
    """Bytes that a call keeps for backward, and how many of its tensors have that many entries or more."""
    kept: dict[int, Tensor] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out_of()  # type: ignore[operator]
    return sum(x.untyped_storage().nbytes() for x in kept.values()), sum(x.numel() >= largest for x in kept.values())


def test_fused_backends_keep_no_scores_for_backward() -> None:
    """Plain eager attention keeps its weights, (batch, heads, N, N); the fused ones keep nothing of that size."""
    grid = Grid((12, 12))
    size = 4 * HEADS * grid.size**2
    q, k, v = (normal(i, 4, HEADS, grid.size, 8, dtype=torch.float32).requires_grad_() for i in range(3))
    mask = GaussianMixtureMask(HEADS, 1)
    plain, _ = saved(lambda: ((q * 0.3) @ k.transpose(-2, -1)).softmax(dim=-1) @ v, size)
    _, of_reference = saved(lambda: multiply_logits(q, k, v, mask, grid, backend="reference"), size)
    assert of_reference >= 2
    mask.alpha.data.abs_()
    for placement, backend in [*((p, "recompute") for p in (*SOFTMAX, "retention")), ("bias_logits", "channels")]:
        held, large = saved(lambda p=placement, b=backend: attend(q, k, v, mask, grid, backend=b, placement=p), size)
        assert large == 0, (placement, backend)
        assert held < plain, (placement, backend)


def test_large_masks_are_never_formed() -> None:
    """From 1,024 tokens on neither M nor dM is N×N: forward and backward hold less than one mask of all heads."""
    grid, heads = Grid((32, 32)), 16
    q, k, v = (normal(i, 1, heads, grid.size, 4, dtype=torch.float32).requires_grad_() for i in range(3))
    kernel = torch.ones(heads, *grid.kernel_shape, requires_grad=True)
    held = peak_bytes(lambda: multiply_logits(q, k, v, kernel, grid, backend="recompute").sum().backward())
    assert held < heads * grid.size**2 * 4 / 2
    assert bool(kernel.grad.isfinite().all())


@pytest.mark.parametrize("by", ["bias", "mask"])
@pytest.mark.parametrize(
    ("placement", "backend"), [(p, b) for p in SOFTMAX for b in (*PORTABLE[p], "auto") if b != "channels"]
)
def test_rows_without_any_key_are_0(placement: str, backend: str, by: str) -> None:
    """Whatever the backend, so that auto may choose among them."""
    check_hidden_rows(placement, backend, by)


def choice(placement: str, mask: MaskLike, grid: Grid, dropout_p: float = 0.0) -> str:
    q = torch.zeros(1, HEADS, grid.length, 4)
    return backends.choose(Call(PLACEMENTS[placement], q, q, q, Forms.of(mask, grid), 1.0, None, dropout_p))


def test_auto_takes_the_fastest_exact_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((4, 4))
    assert choice("multiply_logits", GaussianMixtureMask(HEADS), grid) == "reference", "less than a block"
    monkeypatch.setattr(backends, "CUTS", Cuts(plain=1))
    many, one = GaussianMixtureMask(HEADS, start="local"), GaussianMixtureMask(HEADS, 1, start="local")
    one.sigma.data.fill_(3.0)
    assert choice("multiply_logits", many, grid) == "recompute"
    assert choice("multiply_logits", many, grid, dropout_p=0.1) == "reference"
    assert choice("bias_logits", many, grid) == "recompute"
    assert choice("bias_logits", one, grid) == "recompute", "few tokens"
    monkeypatch.setattr(backends, "CUTS", Cuts(plain=1, table=16))
    assert choice("bias_logits", one, grid) == "channels"
    with torch.no_grad():
        assert choice("bias_logits", many, grid) == "sdpa"
    assert choice("convolution", many, grid) == "operator"
    one.sigma.data.fill_(0.01)
    assert choice("bias_logits", one, grid) == "recompute", "the dot product of a narrow Gaussian is not precise"


@pytest.mark.parametrize("cut", ["rows", "rows by tiles"])
@pytest.mark.parametrize(("shape", "bias"), [([], False), ([], True), ([2, 3], False)])
def test_operation_is_a_good_citizen_of_torch(shape: list[int], bias: bool, cut: str) -> None:
    """Its schema, shapes without values and gradients are registered as ``torch.compile`` expects."""
    grid = Grid((2, 3))
    q, k, v = (x.requires_grad_() for x in qkv(grid, 8))
    kernel = kernel_of(grid.shape, 8)
    mask = (kernel if shape else kernel_to_mask(kernel, grid)).requires_grad_()
    added = normal(8, 1, 1, 6, 6).requires_grad_() if bias else None
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(
        recompute._attend,
        (q, k, v, mask, added, "multiply_logits", 0.5, shape, 0, list(CUTS[cut])),
        test_utils=checks,
    )
