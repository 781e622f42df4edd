"""Masks inside timm's models: the value of a masked attention, and all that must stay as it was."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from retconv.attention import PLACEMENTS, attend
from retconv.masks import KernelTableMask
from retconv.models import add_masks, grids_of, kernels_of, masks_of, remove_masks
from tests.compare import assert_close, assert_exact
from tests.models import naive as naive_models
from tests.models.cases import FAMILIES, images, plain
from tests.strategies import normal

every_family = pytest.mark.parametrize("family", FAMILIES)


def randomise(model: nn.Module) -> nn.Module:
    """Give every table random entries, so that nothing about the mask is symmetric or neutral."""
    for seed, mask in enumerate(masks_of(model).values()):
        mask.weight.data.copy_(normal(seed, *mask.weight.shape))
    return model


@every_family
def test_neutral_mask_changes_nothing_and_a_plain_checkpoint_loads(family: str) -> None:
    """A plain checkpoint loads strictly into the masked model, whose logits are then the plain model's."""
    model, x = plain(family), images(family)
    checkpoint = {key: value + 0.01 * torch.randn_like(value) for key, value in model.state_dict().items()}
    masked = add_masks(model, "table", copy=True)
    model.load_state_dict(checkpoint)
    masked.load_state_dict(checkpoint)
    _, _, count, grids = FAMILIES[family]
    assert len(masks_of(masked)) == count
    assert {(grid.shape, grid.prefix) for grid in grids_of(masked).values()} == grids
    with torch.no_grad():
        assert_close(masked(x), model(x))


@every_family
def test_a_mask_acts_on_every_image_alike_and_reaches_its_gradient(family: str) -> None:
    """Masked logits differ from plain ones, do not depend on the batch, and masks train.

    All but one: where a class token is read off, only its row leaves the last layer, and there a mask is neutral.
    """
    model, x = add_masks(plain(family), "table"), images(family)
    randomise(model)
    with torch.no_grad():
        assert_close(model(x)[1:], model(x[1:]))
        assert float((model(x) - plain(family)(x)).abs().max()) > 1e-6
    model(x).square().sum().backward()
    trained = [float(mask.weight.grad.abs().max()) > 0 for mask in masks_of(model).values()]
    last_is_inert = model.global_pool == "token" and list(grids_of(model).values())[-1].prefix > 0
    assert trained == [True] * (len(trained) - 1) + [not last_is_inert]


@every_family
def test_removing_masks_restores_the_model_bit_for_bit(family: str) -> None:
    model, x = plain(family), images(family)
    with torch.no_grad():
        before, names = model(x), list(model.state_dict())
        remove_masks(add_masks(model, "gmm"))
        assert_exact(model(x), before)
    assert list(model.state_dict()) == names
    assert not masks_of(model)
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    assert not hooks


@pytest.mark.parametrize("share", ["head", "layer", "model"])
def test_an_incomplete_checkpoint_of_a_masked_model_is_noticed(share: str) -> None:
    """No numbers of masks at all is a plain model's checkpoint; some are too few."""
    model = add_masks(plain("ViT"), "gmm", share=share)
    checkpoint = model.state_dict()
    masks = [key for key in checkpoint if ".mask." in key]
    assert len(masks) == (2 if share == "model" else 4)
    del checkpoint[masks[0]]
    with pytest.raises(RuntimeError, match=rf'Missing key.*"{masks[0]}"'):
        model.load_state_dict(checkpoint)
    model.load_state_dict({key: value for key, value in checkpoint.items() if key not in masks})


@pytest.mark.parametrize("how", ["itself", "copied", "pickled", "wrapped", "in part"])
def test_a_checkpoint_that_lacks_a_whole_layer_of_masks_is_noticed(how: str) -> None:
    """Without its masks a layer is a plain one; the other layers tell that the model was not."""
    model = add_masks(plain("ViT"), "gmm")
    at = "0." if how == "wrapped" else ""
    whole = {"copied": copy.deepcopy, "pickled": lambda m: pickle.loads(pickle.dumps(m)), "wrapped": nn.Sequential}
    loading = whole.get(how, lambda m: m)(model)
    masks = [f"{at}blocks.1.attn.mask.{name}" for name in ("sigma", "alpha")]
    checkpoint = {key: value for key, value in loading.state_dict().items() if key not in masks}
    if how == "in part":  # a block alone says nothing of the others
        model.blocks[1].load_state_dict(plain("ViT").blocks[1].state_dict())
    before = [mask.sigma.clone() for mask in masks_of(loading).values()]
    report = loading.load_state_dict(checkpoint, strict=False)
    assert (report.missing_keys, report.unexpected_keys) == (masks, [])
    for mask, sigma in zip(masks_of(loading).values(), before, strict=True):
        assert_exact(mask.sigma, sigma)
    with pytest.raises(RuntimeError, match=r'Missing key.*"(0\.)?blocks\.1\.attn\.mask\.sigma"'):
        loading.load_state_dict(checkpoint)
    # A plain model's, and one from which they were taken out again.
    plainly = {f"{at}{key}": value for key, value in plain("ViT").state_dict().items()}
    loading.load_state_dict(plainly)
    remove_masks(loading)
    assert not any(module._load_state_dict_pre_hooks for module in loading.modules())
    loading.load_state_dict(plainly)


@every_family
def test_copies_and_pickles_are_masked_too(family: str) -> None:
    model, x = randomise(add_masks(plain(family), "table")), images(family)
    with torch.no_grad():
        expected = model(x)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert_exact(other(x), expected)
            next(iter(masks_of(other).values())).weight.data.zero_()
            assert float((other(x) - expected).abs().max()) > 0
        assert_exact(model(x), expected)


def inside(model: nn.Module, name: str, x: Tensor) -> tuple[nn.Module, tuple[Tensor, ...], Tensor]:
    """An attention module, what it was given in a run of the model, and what it made of it."""
    seen: list[tuple[tuple[Tensor, ...], Tensor]] = []
    module = model.get_submodule(name)
    handle = module.register_forward_hook(lambda module, args, kwargs, out: seen.append((args, out)), with_kwargs=True)
    with torch.no_grad():
        model(x)
    handle.remove()
    return module, *seen[0]


def linear_of(module: Any) -> tuple[Any, Any]:
    return module.weight.tolist(), None if module.bias is None else module.bias.tolist()


@pytest.mark.parametrize("family", ["ViT", "registers", "ViT of an oblong", "PiT"])
def test_masked_attention_against_loops(family: str) -> None:
    """A whole masked attention module in float64, against loops over tokens, heads and channels."""
    model = randomise(add_masks(plain(family).double(), "table"))
    for name, mask in masks_of(model).items():
        module, (x, *_), out = inside(model, name, images(family).double())
        grid = grids_of(model)[name]
        arguments = (linear_of(module.qkv), linear_of(module.proj), mask.kernel(grid).tolist(), grid.shape, grid.prefix)
        assert_close(out[1], naive_models.attention(x[1].tolist(), *arguments))


def test_masked_swin_against_loops_in_every_window() -> None:
    """Shifted windows too: the table's bias and the shift mask are added after the mask has multiplied."""
    model = randomise(add_masks(plain("Swin").double(), "table"))
    shifts = []
    for name, mask in masks_of(model).items():
        module, (x, *_), out = inside(model, name, images("Swin").double())
        shift = model.get_submodule(name.removesuffix(".attn")).attn_mask
        table = module.relative_position_bias_table.tolist()
        windows = 1 if shift is None else shift.shape[0]
        for window in range(windows):
            moved = None if shift is None else shift[window].tolist()

            def bias(h: int, i: int, j: int, table: Any = table, moved: Any = moved) -> float:
                return naive_models.swin_bias(table, (4, 4), h, i, j) + (moved[i][j] if moved else 0.0)

            expected = naive_models.attention(
                x[window].tolist(), linear_of(module.qkv), linear_of(module.proj), mask.kernel((4, 4)).tolist(), (4, 4),
                bias=bias,
            )  # fmt: skip
            assert_close(out[window], expected)
        shifts.append(windows)
    assert sorted(shifts) == [1, 1, 4]


def test_masked_cosine_attention_against_loops() -> None:
    model = randomise(add_masks(plain("Swin v2").double(), "table"))
    name, mask = next(iter(masks_of(model).items()))
    module, (x, *_), out = inside(model, name, images("Swin v2").double())
    coordinates = module.relative_coords_table.view(-1, 2)
    table = (16 * torch.sigmoid(module.cpb_mlp(coordinates))).tolist()
    bias = torch.cat((module.q_bias, torch.zeros_like(module.q_bias), module.v_bias)).tolist()
    expected = naive_models.attention(
        x[0].tolist(), (module.qkv.weight.tolist(), bias), linear_of(module.proj), mask.kernel((4, 4)).tolist(), (4, 4),
        bias=lambda h, i, j: naive_models.swin_bias(table, (4, 4), h, i, j),
        cosine=module.logit_scale.clamp(max=torch.tensor(100.0).double().log()).exp().flatten().tolist(),
    )  # fmt: skip
    assert_close(out[0], expected)


def test_masked_talking_heads_against_loops() -> None:
    model = randomise(add_masks(plain("CaiT").double(), "table"))
    for name, mask in masks_of(model).items():
        module, (x, *_), out = inside(model, name, images("CaiT").double())
        talk = (*linear_of(module.proj_l), *linear_of(module.proj_w))
        kernel = mask.kernel((4, 4)).tolist()
        arguments = (x[0].tolist(), linear_of(module.qkv), linear_of(module.proj), kernel, (4, 4))
        assert_close(out[0], naive_models.attention(*arguments, talk=talk))


@pytest.mark.parametrize("placement", sorted(PLACEMENTS))
def test_talking_heads_take_every_placement(placement: str) -> None:
    """Where heads do not talk (mixing is the identity), CaiT's attention is the plain placement's."""
    model = add_masks(plain("CaiT").double(), "manhattan", placement=placement)
    name, mask = next(iter(masks_of(model).items()))
    module = model.get_submodule(name)
    for mixing in (module.proj_l, module.proj_w):
        mixing.weight.data.copy_(torch.eye(2))
        mixing.bias.data.zero_()
    x = normal(3, 2, 16, 12)
    q, k, v = module.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    out = attend(q, k, v, mask, (4, 4), backend="reference", placement=placement)
    assert_close(module(x), module.proj(out.transpose(1, 2).flatten(2)))


def test_kernels_are_those_of_the_masks_on_their_grids() -> None:
    model = add_masks(plain("PiT"), "gmm")
    for (name, kernel), mask in zip(kernels_of(model).items(), masks_of(model).values(), strict=True):
        assert_exact(kernel, mask.kernel(grids_of(model)[name].shape))


def test_the_given_mask_is_copied_to_each_place() -> None:
    mask = KernelTableMask((4, 4), heads=2)
    placed = list(masks_of(add_masks(plain("ViT"), mask)).values())
    assert len({id(one) for one in (mask, *placed)}) == 3
