"""The block matrix of a convolved head, and attention of which some heads are convolved."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from retconv.grid import Grid
from retconv.heads import ConvolvedHeads, convolve, replacing
from retconv.models import add_masks, masks_of, remove_masks
from retconv.models.neutral import NeutralMask
from retconv.models.surgery import masked_modules
from tests.compare import assert_close, assert_exact
from tests.heads import naive_convolved as naive
from tests.models.cases import images, plain
from tests.strategies import DTYPES, HEADS, kernel_of, normal

GRIDS = [((1,), 0), ((7,), 1), ((1, 1), 2), ((1, 7), 0), ((3, 5), 1), ((2, 3, 4), 2)]
every_border = pytest.mark.parametrize(("shape", "prefix"), GRIDS)


@pytest.fixture(params=["one product", "a border of its own"], autouse=True)
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small grids as they are, and as if they were large."""
    if request.param == "a border of its own":
        monkeypatch.setattr(replacing, "DENSE", 0)


def heads_on(shape: tuple[int, ...], prefix: int, dtype: torch.dtype = torch.float64) -> ConvolvedHeads:
    grid = Grid(shape, prefix=prefix)
    rows, columns = normal(2, HEADS, prefix, grid.length, dtype=dtype), normal(3, HEADS, grid.size, prefix, dtype=dtype)
    border = (rows, columns) if prefix else (None, None)
    return ConvolvedHeads((0, 1), HEADS, grid, kernel_of(shape, 1, dtype), *border)


def by_loops(heads: ConvolvedHeads, v: torch.Tensor) -> torch.Tensor:
    rows = [[]] * HEADS if heads.rows is None else heads.rows.tolist()
    columns = [[]] * HEADS if heads.columns is None else heads.columns.tolist()
    return torch.tensor(
        [
            [
                naive.mixed(kernel, rows[h], columns[h], image[h].tolist(), heads.grid.shape, heads.grid.prefix)
                for h, kernel in enumerate(heads.table().tolist())
            ]
            for image in v
        ],
        dtype=torch.float64,
    )


@every_border
@pytest.mark.parametrize("dtype", DTYPES)
def test_mix_by_loops(shape: tuple[int, ...], prefix: int, dtype: torch.dtype) -> None:
    heads = heads_on(shape, prefix, dtype)
    v = normal(4, 2, HEADS, heads.grid.length, 3, dtype=dtype)
    assert_close(heads.mix(v, heads.grid), by_loops(heads, v))


@every_border
def test_dense_is_the_same_matrix_and_so_are_gradients(shape: tuple[int, ...], prefix: int) -> None:
    heads = heads_on(shape, prefix)
    v = normal(4, 2, HEADS, heads.grid.length, 3).requires_grad_()
    leaves = [v, *heads.parameters()]
    outs = heads.mix(v, heads.grid), heads.dense(heads.grid) @ v
    assert_close(outs[0], outs[1].detach())
    upstream = normal(5, *v.shape)
    for ours, dense in zip(*(torch.autograd.grad(out, leaves, upstream) for out in outs), strict=True):
        assert_close(ours, dense)


def test_a_kernel_without_prefix_moves_to_another_grid() -> None:
    heads = heads_on((3, 5), 0)
    smaller, v = Grid((2, 5)), normal(4, 1, HEADS, 10, 3)
    moved = ConvolvedHeads((0, 1), HEADS, smaller, heads.table()[:, 1:-1].detach())
    assert_exact(heads.mix(v, smaller), moved.mix(v, smaller))


@pytest.mark.parametrize("heads", [(), (0,), (2,), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_others_attend_as_before(heads: tuple[int, ...], masked: bool) -> None:
    """Watched or not, plain or with a mask of its own for each head: output and weights, head by head."""
    model: Any = plain("ViT", embed_dim=12, num_heads=3)
    mask = "gmm" if masked else NeutralMask()
    add_masks(model, mask)
    module = next(masked_modules(model))[1]
    grid = module.place.grid()
    q, k, v = (normal(seed, 2, 3, grid.length, 4, dtype=torch.float32) for seed in (1, 2, 3))
    bias = normal(4, 1, 3, grid.length, grid.length, dtype=torch.float32)
    weights: list[torch.Tensor] = []
    module.observer = weights.append
    empty = ConvolvedHeads((), 3, grid, torch.zeros(0, *grid.kernel_shape), plain=not masked)
    before = empty.attend(module, q, k, v, bias, 0.0, None)
    p, count = grid.prefix, len(heads)
    border = (normal(6, count, p, grid.length).float(), normal(7, count, grid.size, p).float()) if count else ()
    convolved = ConvolvedHeads(heads, 3, grid, kernel_of((4, 4), 5, torch.float32, count), *border, plain=not masked)
    watched = convolved.attend(module, q, k, v, bias, 0.0, None)
    module.observer = None
    alone = convolved.attend(module, q, k, v, bias, 0.0, None)
    stay = [h for h in range(3) if h not in heads]
    for out in (watched, alone):
        if stay:
            assert_close(out[:, stay], before[:, stay].detach())
        if heads:
            assert_close(out[:, list(heads)], convolved.dense(grid).detach().double() @ v[:, list(heads)].double())
    assert_exact(weights[1][:, stay], weights[0][:, stay])
    assert_close(weights[1] @ v, watched.detach())
    assert_exact(convolved.attend(module, q, k, v, bias[0], 0.0, None), alone)  # as torch broadcasts one


def test_removed_masks_take_convolved_heads_along() -> None:
    """They were of the masked module: masks that are put in later find none."""
    model, x = plain("ViT"), images("ViT")
    names, expected = list(model.state_dict()), add_masks(plain("ViT"), NeutralMask())(x)
    convolve(model, images=x, heads={"blocks.0.attn": [0]}, rounds=0)
    assert list(remove_masks(model).state_dict()) == names
    assert_exact(add_masks(model, NeutralMask())(x), expected)


def test_neutral_mask_is_neutral_and_leaves_no_trace() -> None:
    model = plain("ViT")
    keys, x = list(model.state_dict()), images("ViT")
    expected = model(x)
    add_masks(model, NeutralMask())
    assert_close(model(x), expected.detach())
    assert list(model.state_dict()) == keys
    assert masks_of(model)
