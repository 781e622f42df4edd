"""How attention may be cut into blocks, and the check of any cut and backend against the reference."""

import pytest
import torch

from retconv.attention import BACKENDS, attend, backends, work
from retconv.attention.cuts import Cuts
from retconv.grid import Grid
from tests.attention.cases import bias_for, gradients, kernel_for, qkv
from tests.compare import assert_close
from tests.strategies import HEADS, normal

F64 = torch.float64
every_recomputed = pytest.mark.parametrize("placement", [p for p, names in BACKENDS.items() if "recompute" in names])
_TILES = {"smaller": 1, "long": 4, "tile": 3}
_RUNS = {"smaller": 1, "table": 1}
#: Whole heads together, some elements, and some rows, dense or by table, all keys of a row at once or tile by tile.
CUTS = {
    "heads": Cuts(2**18),
    "elements": Cuts(700),
    "rows": Cuts(60, few=1),
    "rows by tiles": Cuts(20, **_TILES),
    "runs of heads": Cuts(2**18, **_RUNS),
    "runs": Cuts(200, **_RUNS),
    "runs by tiles": Cuts(50, **_RUNS | _TILES),
    "one slab after another": Cuts(200, slab=1, **_RUNS),
    "one slab after another by tiles": Cuts(50, slab=1, **_RUNS | _TILES),
    "parts of slabs": Cuts(1, slab=1, **_RUNS),
    "parts of slabs by tiles": Cuts(1, slab=1, **_RUNS | _TILES),
}
every_cut = pytest.mark.parametrize("cut", CUTS)


def set_cut(monkeypatch: pytest.MonkeyPatch, cut: str, threads: int = 2) -> None:
    """Cut so, and share blocks out to more threads than the tests run on."""
    monkeypatch.setattr(backends, "CUTS", CUTS[cut]._replace(threads=threads))


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
