"""Where the grid of an attention is known from, and that masks go with the model when that changes."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

from retconv.grid import Grid
from retconv.masks import DecayMask
from retconv.models import UnsupportedModelError, add_masks, grids_of, masks_of, remove_masks
from retconv.models.places import Coarser, FeatureMap
from retconv.models.surgery import masked_modules
from tests.compare import assert_close
from tests.models.cases import images, plain, pvt
from tests.strategies import normal


def test_masks_follow_an_embedding_that_the_model_exchanges() -> None:
    """A smaller patch size makes a new convolution: the grid is that of the new one."""
    model = add_masks(plain("ViT"), "gmm")
    model.set_input_size(img_size=(32, 16), patch_size=4)
    assert model(normal(0, 1, 3, 32, 16, dtype=torch.float32)).shape == (1, 5)
    assert set(grids_of(model).values()) == {Grid((8, 4), prefix=1)}
    remove_masks(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_number_of_prefix_tokens_that_the_model_does_not_say() -> None:
    """Prompts that another library puts between class token and patches are prefix tokens that nobody counts."""
    model = plain("ViT")

    def prompted(x: torch.Tensor, *args: Any) -> torch.Tensor:
        return torch.cat((x[:, :1], torch.ones(x.shape[0], 3, x.shape[2]), x[:, 1:]), dim=1)

    model.norm_pre.register_forward_hook(lambda module, args, x: prompted(x))
    with pytest.raises(UnsupportedModelError, match=r"has its 20 tokens.*give their number as prefix="):
        add_masks(model, "gmm")
    assert set(grids_of(add_masks(model, "gmm", prefix=4)).values()) == {Grid((4, 4), prefix=4)}


def test_a_grid_that_no_feature_map_has() -> None:
    """NaFlexViT's patches are cut before the model, and embedded by a linear layer."""
    model = timm.create_model("naflexvit_base_patch16_gap", depth=1, embed_dim=24, num_heads=2, num_classes=5)
    x = normal(0, 1, 3, 32, 64, dtype=torch.float32)
    with pytest.raises(UnsupportedModelError, match=r"and a grid that no feature map has as grid="):
        add_masks(model, "gmm", example=x)
    add_masks(model, "gmm", example=x, grid=(2, 4))
    assert set(grids_of(model).values()) == {Grid((2, 4), prefix=4)}


def test_a_coarser_map_is_run_again_like_the_map_that_it_follows() -> None:
    """Once backward has asked, the next image begins a list of its own; what runs without gradients is on none."""
    embedding = nn.Conv2d(1, 1, 1)
    finer = FeatureMap(embedding, "")
    coarser = Coarser(finer, 2)
    with torch.no_grad():
        embedding(torch.zeros(1, 1, 9, 9))
    for size in ((4, 6), (5, 4)):
        embedding(torch.zeros(1, 1, *size))
    assert finer.again() == {(4, 6), (5, 4)}
    assert coarser.again() == {(2, 3), (3, 2)}
    embedding(torch.zeros(1, 1, 2, 2))
    assert coarser.again() == {(1, 1)}


def test_a_module_that_attends_otherwise_than_when_it_was_masked_says_so() -> None:
    model = add_masks(plain("ViT"), "gmm")
    model.blocks[1].attn.fused_attn = False
    with pytest.raises(ValueError, match=r"'blocks.1.attn' was masked when it computed by torch's scaled_dot_product"):
        model(images("ViT"))


def test_a_window_of_the_last_map_goes_with_the_model_to_other_sizes() -> None:
    """A torchvision Swin whose last map is one window pads other maps to windows."""
    torch.manual_seed(0)
    options = {"patch_size": [4, 4], "embed_dim": 12, "depths": [1, 2], "num_heads": [2, 2], "window_size": [4, 4]}
    swin = SwinTransformer(**options, num_classes=3).eval()
    add_masks(swin, "manhattan", example=torch.zeros(1, 3, 32, 32))
    assert set(grids_of(swin).values()) == {Grid((4, 4))}
    for size in (24, 40, 64):
        assert swin(torch.zeros(1, 3, size, size)).shape == (1, 3)


def test_a_window_that_holds_a_padded_map_is_one() -> None:
    """The same masks make the same model, wherever they were added."""
    torch.manual_seed(0)
    options = {
        "img_size": 32,
        "patch_size": 4,
        "window_size": 4,
        "embed_dim": 12,
        "depths": (1, 2),
        "num_heads": (2, 2),
    }
    swin = timm.create_model("swin_tiny_patch4_window7_224", strict_img_size=False, num_classes=3, **options).eval()
    copied, x = copy.deepcopy(swin), normal(0, 1, 3, 32, 24, dtype=torch.float32)
    add_masks(swin, "manhattan", example=x)
    assert len(grids_of(swin)) == 3
    assert_close(swin(x), add_masks(copied, "manhattan")(x))


def test_pooled_keys_stay_plain_and_that_is_told() -> None:
    x = normal(0, 1, 3, 64, 64)
    with pytest.warns(
        UserWarning, match=r"its 256 queries lie on \(16, 16\), its 4 keys on the coarser \(2, 2\): with poo"
    ):
        assert len(masks_of(add_masks(pvt(), "manhattan", example=x))) == 1
    with pytest.raises(TypeError, match="a mask between two grids is a module with at and log_at"):
        add_masks(pvt(), "table", example=x, pooled=True)


def test_pooled_keys_have_a_mask_between_two_grids() -> None:
    """A double loop over queries and keys, which lie at the centres of the 8×8 tokens that make them."""
    x = normal(0, 2, 3, 64, 64)
    model = add_masks(
        pvt(), lambda grid, heads: DecayMask(heads, gamma=torch.linspace(0.7, 0.9, heads)), example=x, pooled=True,
        placement="bias_logits",
    )  # fmt: skip
    assert len(masks_of(model)) == 4
    module = dict(masked_modules(model))["stages.0.blocks.0.attn"]
    decay, seen = float(module.mask.gamma[0]), []
    module.observer = seen.append
    inputs: list[torch.Tensor] = []
    module.register_forward_hook(lambda module, args, out: inputs.append(args[0]))
    with torch.no_grad():
        model(x)
        given: Any = inputs[0]
        q = module.q(given).unflatten(-1, (2, -1)).transpose(1, 2)
        pooled = module.norm(module.sr(given.mT.unflatten(-1, (16, 16))).flatten(2).mT)
        k, _ = module.kv(pooled).unflatten(-1, (2, 2, -1)).permute(2, 0, 3, 1, 4)
    logits = (q @ k.mT * (q.shape[-1] ** -0.5)).tolist()
    for i in range(256):
        row = [0.0] * 4
        for j in range(4):
            keys = [8 * axis + 3.5 for axis in divmod(j, 2)]
            distance = sum(abs(key - query) for key, query in zip(keys, divmod(i, 16), strict=True))
            row[j] = math.exp(logits[1][0][i][j]) * decay**distance
        assert_close(seen[0][1, 0, i], torch.tensor(row, dtype=torch.float64) / sum(row))
