"""How attention may be cut into blocks, and the check of any cut and backend against the reference."""

import pytest
import torch

from retconv.attention import BACKENDS, attend, blocks, rows, work
from retconv.grid import Grid
from tests.attention.cases import bias_for, gradients, kernel_for, qkv
from tests.compare import assert_close
from tests.strategies import HEADS, normal

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


def set_products(monkeypatch: pytest.MonkeyPatch, *, half: bool) -> None:
    """Whether blocks multiply half types as they are, or in float32: by itself the machine decides."""
    monkeypatch.setattr(work, "has_units", lambda dtype, device: half)


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


def check_hidden_rows(placement: str, backend: str, by: str) -> None:
    """Rows of which a bias or the mask hides every key: 0, and no part of any gradient."""
    grid, rows_ = Grid((3, 4)), [0, 5, 6]
    leaves = dict(zip("qkv", qkv(grid, 21), strict=True))
    bias = normal(22, 1, 1, grid.length, grid.length)
    if by == "bias" or placement != "bias_logits":
        leaves["mask"] = kernel_for(placement, grid.shape, 21)
        bias[..., rows_, :] = -torch.inf
    else:
        leaves["mask"] = normal(23, HEADS, grid.length, grid.length).abs()
        leaves["mask"][:, rows_] = 0
    upstream = normal(24, *leaves["v"].shape)
    given = {name: x.clone().requires_grad_() for name, x in leaves.items()}
    out = attend(*(given[n] for n in "qkv"), given["mask"], grid, bias=bias, backend=backend, placement=placement)
    assert not out[:, :, rows_].any()
    gradients = torch.autograd.grad(out, list(given.values()), upstream)
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert not gradients[0][:, :, rows_].any()
    # The same with those rows visible, and nothing asked of them.
    upstream[:, :, rows_] = 0
    if by == "bias" or placement != "bias_logits":
        bias[..., rows_, :] = 0
    else:
        leaves["mask"][:, rows_] = 1
    seen = {name: x.clone().requires_grad_() for name, x in leaves.items()}
    whole = attend(*(seen[n] for n in "qkv"), seen["mask"], grid, bias=bias, backend="reference", placement=placement)
    others = [i for i in range(grid.length) if i not in rows_]
    assert_close(out[:, :, others], whole[:, :, others])
    for actual, expected in zip(gradients, torch.autograd.grad(whole, list(seen.values()), upstream), strict=True):
        assert_close(actual, expected)
