"""Every fast backend is the reference, gradients included, and keeps nothing large for backward."""

from collections.abc import Iterable

import pytest
import torch
from attention_cases import BATCH, SOFTMAX, bias_for, gradients, kernel_for, qkv
from compare import assert_close, assert_exact
from hypothesis import HealthCheck, settings
from strategies import HEADS, every_grid, kernel_of, normal
from torch import Tensor

from retconv.attention import BACKENDS, PLACEMENTS, blocks, multiply_logits, recompute, rows
from retconv.attention.backends import Call
from retconv.attention.inputs import Source
from retconv.bench.timing import peak_bytes
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import GaussianMixtureMask, RetNetMask

F64 = torch.float64
every_recomputed = pytest.mark.parametrize("placement", [p for p, names in BACKENDS.items() if "recompute" in names])
#: Scores of a block for each thread, keys of a tile, tokens from which on a table is read, and scores from which on a
#: slab is added to the gradient by itself: whole heads together, some elements, and some rows, dense or by table, all
#: keys of a row at once or tile by tile.
CUTS = {
    "heads": (2**18, 1024, 2000, 1),
    "elements": (700, 1024, 2000, 1),
    "rows": (60, 1024, 2000, 1),
    "rows by tiles": (20, 3, 2000, 1),
    "runs of heads": (2**18, 1024, 1, 2**14),
    "runs": (200, 1024, 1, 2**14),
    "runs by tiles": (50, 3, 1, 2**14),
    "one slab after another": (200, 1024, 1, 1),
    "one slab after another by tiles": (50, 3, 1, 1),
    "parts of slabs": (1, 1024, 1, 1),
    "parts of slabs by tiles": (1, 3, 1, 1),
}
every_cut = pytest.mark.parametrize("cut", CUTS)


def set_cut(monkeypatch: pytest.MonkeyPatch, cut: str, threads: int = 2) -> None:
    block, tile, tokens, small = CUTS[cut]
    monkeypatch.setattr(blocks, "BLOCK", block)
    monkeypatch.setattr(blocks, "SMALLER", 1)
    monkeypatch.setattr(blocks, "LONG", tile + 1)
    monkeypatch.setattr(blocks, "TILE", tile)
    monkeypatch.setattr(rows, "TABLE_TOKENS", tokens)
    monkeypatch.setattr(rows, "SMALL", small)
    monkeypatch.setattr(rows, "FEW", 1 if cut == "rows" else 4)
    # Blocks are shared out to more threads than the tests run on.
    monkeypatch.setattr(blocks, "threads_of", lambda device: threads)


def check_against_reference(
    placement: str, backend: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype
) -> None:
    grid = Grid(shape, prefix=seed % 3)
    leaves = dict(zip("qkv", qkv(grid, seed, dtype), strict=True))
    leaves["mask"] = kernel_for(placement, shape, seed, dtype)[: 1 + seed % HEADS]
    bias = bias_for(placement, grid, seed, dtype)
    if bias is not None:
        leaves["bias"] = bias
    upstream = normal(seed + 30, *leaves["v"].shape)
    fast = gradients(placement, leaves, grid, upstream.to(dtype), scale=0.7, backend=backend)
    exact = gradients(
        placement, {n: x.double() for n, x in leaves.items()}, grid, upstream, scale=0.7, backend="reference"
    )
    for actual, expected in zip(fast, exact, strict=True):
        assert_close(actual, expected)


@every_cut
@every_recomputed
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@every_grid
def test_blocks_are_the_reference(
    shape: tuple[int, ...], seed: int, placement: str, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output and gradients in q, k, v, mask and bias, however the scores are cut and shared out."""
    set_cut(monkeypatch, cut, threads=1 + seed % 3)
    check_against_reference(placement, "recompute", shape, seed, F64)


@pytest.mark.parametrize(("placement", "backend"), [("bias_logits", "sdpa"), ("convolution", "operator")])
@settings(max_examples=5)
@every_grid
def test_fused_backends_are_the_reference(shape: tuple[int, ...], seed: int, placement: str, backend: str) -> None:
    check_against_reference(placement, backend, shape, seed, F64)


@pytest.mark.parametrize(
    ("placement", "backend"), [(p, b) for p, bs in BACKENDS.items() for b in (*bs, "auto") if b != "channels"]
)
def test_float32_is_within_its_tolerance(placement: str, backend: str) -> None:
    """Against the reference in float64, gradients included."""
    check_against_reference(placement, backend, (6, 7), 2, torch.float32)


@every_recomputed
def test_gradcheck_of_blocks(placement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_cut(monkeypatch, "rows")
    grid = Grid((2, 3), prefix=1)
    q, k, v = (x.requires_grad_() for x in qkv(grid, 3))
    kernel = kernel_for(placement, grid.shape, 3).requires_grad_()
    run = PLACEMENTS[placement]
    assert torch.autograd.gradcheck(lambda *x: run(*x, grid, backend="recompute"), (q, k, v, kernel))


def test_strided_queries_keys_and_values_are_read_in_place() -> None:
    """As timm makes them: one product for q, k and v, then a permutation."""
    grid = Grid((4, 4))
    qkv_ = normal(4, BATCH, grid.length, 3, HEADS, 8).permute(2, 0, 3, 1, 4)
    kernel = kernel_of(grid.shape, 4)
    fast = multiply_logits(*qkv_, kernel, grid, backend="recompute")
    assert_close(fast, multiply_logits(*qkv_, kernel, grid, backend="reference"))


@every_cut
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_slabs_of_several_rows_are_the_reference(cut: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several slabs for each thread, and several rows in each."""
    set_cut(monkeypatch, cut, threads)
    check_against_reference("multiply_logits", "recompute", (12, 2), 3, F64)


@every_cut
def test_hidden_keys_keep_gradients_finite_in_blocks(cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may have all keys of a tile hidden."""
    set_cut(monkeypatch, cut)
    grid = Grid(9)
    leaves = dict(zip("qkv", qkv(grid, 10), strict=True)) | {"mask": RetNetMask(HEADS, gamma=0.7).double().kernel(grid)}
    fast, exact = (
        gradients("bias_logits", leaves, grid, leaves["v"], backend=backend) for backend in ("recompute", "reference")
    )
    for actual, expected in zip(fast, exact, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("shift", [0.0, -1e9, torch.finfo(torch.float32).min])
def test_tiles_of_rows_with_a_large_common_logit_have_the_reference_gradients(
    shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As padding makes them; next to it the logarithm of a sum over keys would be rounded away."""
    set_cut(monkeypatch, "rows by tiles")
    grid = Grid(9)
    leaves = dict(zip("qkv", qkv(grid, 11, torch.float32), strict=True)) | {"mask": kernel_of((9,), 11).float()}
    leaves["bias"] = torch.zeros(1, 1, 9, 9)
    leaves["bias"][..., 5:, :] = shift
    fast, exact = (
        gradients("multiply_logits", leaves, grid, leaves["v"], backend=backend)
        for backend in ("recompute", "reference")
    )
    for actual, expected in zip(fast, exact, strict=True):
        assert_close(actual, expected)


def test_prefix_tokens_may_fill_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in CUTS:
        set_cut(monkeypatch, cut)
        grid = Grid((1,), prefix=8)
        leaves = dict(zip("qkv", qkv(grid, 12), strict=True)) | {"mask": kernel_of((1,), 12)}
        fast, exact = (
            gradients("multiply_logits", leaves, grid, leaves["v"], backend=b) for b in ("recompute", "reference")
        )
        for actual, expected in zip(fast, exact, strict=True):
            assert_close(actual, expected)


@pytest.mark.parametrize("placement", SOFTMAX)
def test_tiles_cost_half_types_no_precision(placement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of a kernel in float32 is that of whole rows, to the precision of float32."""
    grid = Grid((4, 5), prefix=1)
    leaves = dict(zip("qkv", (x.to(torch.bfloat16) for x in qkv(grid, 13)), strict=True))
    leaves["mask"] = kernel_for(placement, grid.shape, 13).float()
    found = []
    for cut in ("runs", "runs by tiles"):
        set_cut(monkeypatch, cut)
        found.append(gradients(placement, leaves, grid, leaves["v"], backend="recompute")[-1])
    assert found[0].dtype == torch.float32
    assert_close(found[1], found[0])


def test_an_empty_batch_has_an_empty_result() -> None:
    for size in (6, 1200):
        q = torch.zeros(0, HEADS, size, 4)
        assert (
            multiply_logits(q, q, q, torch.ones(HEADS, 2 * size - 1), Grid(size), backend="recompute").shape == q.shape
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_recomputed
def test_half_types_are_computed_in_float32(placement: str, dtype: torch.dtype) -> None:
    """One rounding of inputs, which both share, and one of the result: half a unit in the last place of the dtype."""
    grid = Grid((4, 5), prefix=1)
    inputs = [x.to(dtype) for x in (*qkv(grid, 15), kernel_for(placement, grid.shape, 15))]
    half = PLACEMENTS[placement](*inputs, grid, backend="recompute")
    exact = PLACEMENTS[placement](*(x.double() for x in inputs), grid, backend="reference")
    assert half.dtype == dtype
    assert_close(half, exact)


def test_autocast_reaches_no_block() -> None:
    grid = Grid((4, 5), prefix=1)
    q, k, v = (x.to(torch.bfloat16).requires_grad_() for x in qkv(grid, 16))
    mask = GaussianMixtureMask(HEADS, start="local", generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = multiply_logits(q, k, v, mask, grid, backend="recompute")
    out.float().square().sum().backward()
    assert out.dtype == torch.bfloat16
    assert_close(out, multiply_logits(q.double(), k.double(), v.double(), mask.double(), grid, backend="reference"))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 50, 1000], ids=["parts of a slab", "some slabs", "all slabs"])
@pytest.mark.parametrize("shape", [(7,), (1, 6), (3, 5), (5, 3), (2, 3, 4)])
def test_runs_hold_every_row_of_the_mask(shape: tuple[int, ...], size: int, threads: int) -> None:
    """Bit for bit, tile by tile; and the table is smaller than the mask by about n_1 / 2."""
    kernel, grid = kernel_of(shape, 5), Grid(shape, prefix=2)
    tiles = [(0, 4), (4, grid.length)]
    width = max(right - left for left, right in tiles)
    table = rows.TableRows(kernel, HEADS, 1, shape, grid.prefix, threads, size, width)
    read = torch.ones(HEADS, grid.length, grid.length, dtype=F64)
    for block in (block for group in table.groups() for block in group if block.first >= grid.prefix):
        for left, right in tiles:
            keys = slice(max(left, grid.prefix), right)
            part = table.read(block, (left, right)).reshape(block.last - block.first, keys.stop - keys.start)
            read[block.start, block.first : block.last, keys] = part.flip(-1)
    assert_exact(read, kernel_to_mask(kernel, grid))
    assert rows.runs(kernel, shape)[0].numel() == (2 * shape[0] - 1) * (grid.size // shape[0]) ** 2


def count_rows(given: Iterable[blocks.Block], elements: int, length: int, limit: float) -> Tensor:
    """How often each row of each element is in a block."""
    count = torch.zeros(elements, length)
    for block in given:
        matrices, height = block.size
        assert matrices * height == (block.stop - block.start) * (block.last - block.first)
        assert matrices * height * length <= limit
        count[block.start : block.stop, block.first : block.last] += 1
    return count


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("heads", "batch", "length"), [(3, 5, 8), (2, 7, 64), (1, 1, 9), (12, 1, 16)])
def test_blocks_cover_every_score_once(heads: int, batch: int, length: int, threads: int) -> None:
    for limit in (1, 100, 700, 6000, 10**6):
        largest = 2 * threads * max(limit, length**2)
        given = blocks.elements(heads, batch, length, threads, limit)
        assert_exact(count_rows(given, heads * batch, length, largest), torch.ones(heads * batch, length))
        for step in (1, 2):
            last = length - length % step
            largest = 2 * threads * max(limit, step * length)
            count = count_rows(blocks.cut(0, 0, last, length, threads, limit, step), 1, length, largest)
            assert_exact(count[0, :last], torch.ones(last))
            assert not bool(count[0, last:].any())


@pytest.mark.parametrize("length", [1, 64, 1024, 2047, 2048, 2049, 4096, 65536])
def test_tiles_cover_every_key_once(length: int) -> None:
    covered = blocks.tiles(length)
    assert [left for left, _ in covered] == [0, *(right for _, right in covered[:-1])]
    assert covered[-1][1] == length
    assert length < blocks.LONG or all(0 < right - left <= 2 * blocks.TILE for left, right in covered)


# --- what is kept, and what is chosen -------------------------------------------------------------------------------


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
        held, large = saved(lambda p=placement, b=backend: PLACEMENTS[p](q, k, v, mask, grid, backend=b), size)
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


def choice(placement: str, mask: object, grid: Grid, **changes: object) -> str:
    q = torch.zeros(1, HEADS, grid.length, 4)
    arguments = {"q": q, "k": q, "v": q, "mask": mask, "scale": 1.0, "bias": None, "dropout_p": 0.0} | changes
    return Call(placement=placement, source=Source.read(mask, grid, HEADS), **arguments).choose()  # type: ignore[arg-type]


def test_auto_takes_the_fastest_exact_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((4, 4))
    assert choice("multiply_logits", GaussianMixtureMask(HEADS), grid) == "reference", "less than a block"
    monkeypatch.setattr(blocks, "BLOCK", 1)
    many, one = GaussianMixtureMask(HEADS, start="local"), GaussianMixtureMask(HEADS, 1, start="local")
    one.sigma.data.fill_(3.0)
    assert choice("multiply_logits", many, grid) == "recompute"
    assert choice("multiply_logits", many, grid, dropout_p=0.1) == "reference"
    assert choice("bias_logits", many, grid) == "recompute"
    assert choice("bias_logits", one, grid) == "recompute", "few tokens"
    monkeypatch.setattr(rows, "TABLE_TOKENS", 16)
    assert choice("bias_logits", one, grid) == "channels"
    with torch.no_grad():
        assert choice("bias_logits", many, grid) == "sdpa"
    assert choice("convolution", many, grid) == "operator"
    one.sigma.data.fill_(0.01)
    assert choice("bias_logits", one, grid) == "recompute", "the dot product of a narrow Gaussian is not precise"


@pytest.mark.parametrize("cut", ["rows", "rows by tiles"])
@pytest.mark.parametrize(("shape", "bias"), [([], False), ([], True), ([2, 3], False)])
def test_operation_is_a_good_citizen_of_torch(
    shape: list[int], bias: bool, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schema, shapes without values and gradients are registered as ``torch.compile`` expects."""
    set_cut(monkeypatch, cut)
    grid = Grid((2, 3))
    q, k, v = (x.requires_grad_() for x in qkv(grid, 8))
    kernel = kernel_of(grid.shape, 8)
    mask = (kernel if shape else kernel_to_mask(kernel, grid)).requires_grad_()
    added = normal(8, 1, 1, 6, 6).requires_grad_() if bias else None
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(
        recompute._attend, (q, k, v, mask, added, "multiply_logits", 0.5, shape, 0), test_utils=checks
    )
