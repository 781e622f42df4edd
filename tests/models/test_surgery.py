"""Putting masks in: where, whose numbers, on which grid when the image changes, and in which models not."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import timm
import torch
from torch import nn

from retconv.convert import kernel_to_mask, mask_to_kernel
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, RetNetMask
from retconv.model_names import MASK_NAMES
from retconv.models import MASKS, RasterMask, UnsupportedModelError, add_masks, grids_of, masks_of, remove_masks
from tests.compare import assert_close, assert_exact
from tests.models.cases import VIT, images, plain
from tests.strategies import SHAPES, normal


def numbers(model: nn.Module) -> int:
    """Numbers of all masks together, each counted once."""
    seen = {id(p): p.numel() for mask in masks_of(model).values() for p in mask.parameters()}
    return sum(seen.values())


@pytest.mark.parametrize(("share", "expected"), [("head", 2 * 2 * 10), ("layer", 2 * 10), ("model", 10)])
def test_share_says_who_has_numbers_of_its_own(share: Any, expected: int) -> None:
    """Five Gaussians of two numbers for each head, for each layer, or for the model."""
    model = add_masks(plain("ViT"), "gmm", share=share)
    assert numbers(model) == expected
    assert model(images("ViT")).shape == (2, 5)


def test_one_mask_serves_stages_of_different_grids_and_heads() -> None:
    model = add_masks(plain("PiT"), "table", share="model")
    assert len({id(mask) for mask in masks_of(model).values()}) == 1
    assert len(set(grids_of(model).values())) == 2
    shared = DecayMask(2, learnable=True)
    assert next(iter(masks_of(add_masks(plain("ViT"), shared, share="model")).values())) is shared


@pytest.mark.parametrize("name", sorted(MASKS))
def test_every_named_mask_serves_a_vit(name: str) -> None:
    model, x = add_masks(plain("ViT of an oblong"), name), images("ViT of an oblong")
    assert bool(torch.isfinite(model(x)).all())
    assert {type(mask).__name__ for mask in masks_of(model).values()} <= {
        "GaussianMixtureMask", "ElementwiseMask", "KernelTableMask", "DecayMask", "RasterMask",
        "OffDiagonalMask", "BiasMask", "BiasTableMask", "WindowMask",
    }  # fmt: skip


def test_options_and_factories() -> None:
    model = add_masks(plain("ViT"), "gmm", components=3, start="local")
    assert all(mask.components == 3 and mask.start == "local" for mask in masks_of(model).values())
    seen = []
    add_masks(plain("PiT"), lambda grid, heads: seen.append((grid, heads)) or GaussianMixtureMask(heads))
    assert seen == [(Grid((7, 7)), 2), (Grid((4, 4)), 4)]


def test_where_masks_only_what_it_names() -> None:
    model = add_masks(plain("ViT"), "gmm", where="blocks.1.*")
    assert list(masks_of(model)) == ["blocks.1.attn"]


def test_copy_leaves_the_model_alone() -> None:
    model = plain("ViT")
    masked = add_masks(model, "table", copy=True)
    assert masks_of(masked)
    assert not masks_of(model)


def test_a_failed_attempt_leaves_no_trace() -> None:
    """Retention has no softmax for Swin's position bias to enter: refused when the model is run, and undone."""
    model, x = plain("Swin"), images("Swin")
    expected = model(x)
    with pytest.raises(ValueError, match="no softmax, so a bias"):
        add_masks(model, "manhattan", placement="retention")
    assert not masks_of(model)
    assert not [hook for module in model.modules() for hook in module._forward_hooks.values()]
    assert not any(getattr(module, "fused_attn", False) for module in model.layers.modules())
    assert_exact(model(x), expected)


@pytest.mark.parametrize("share", ["head", "model"])
def test_masks_that_stay_follow_the_image_when_others_are_removed(share: Any) -> None:
    x = normal(3, 1, 3, 16, 64).float()
    model = add_masks(plain("ViT", dynamic_img_size=True, depth=3), "manhattan", share=share)
    remove_masks(model.blocks[2])
    expected = add_masks(plain("ViT", dynamic_img_size=True, depth=3), "manhattan", share=share, where="blocks.[01].*")
    assert_exact(model(x), expected(x))
    assert grids_of(model)["blocks.0.attn"] == Grid((2, 8), prefix=1)
    assert any(part._forward_hooks for part in model.modules())
    remove_masks(model)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_refused_module_is_as_it_was() -> None:
    model = plain("ViT")
    x, own = images("ViT"), object()
    model.blocks[1].attn.mask = own
    expected = model(x)
    with pytest.raises(ValueError, match="has its own mask"):
        add_masks(model, "gmm")
    assert model.blocks[1].attn.mask is own
    assert_exact(model(x), expected)


def test_what_does_more_in_eval_is_left_alone() -> None:
    """As adapters that are merged there: masks and ``look`` set the flag alone."""

    class Merging(nn.Linear):
        merged = False

        def train(self, mode: bool = True) -> Any:
            self.merged = not mode
            return super().train(mode)

    model = plain("ViT")
    model.head = Merging(12, 5)
    model.train()
    add_masks(model, "gmm")
    assert model.head.training
    assert not model.head.merged


def test_modes_and_gradients_are_as_before() -> None:
    model = plain("ViT").train()
    model.blocks[0].eval()
    add_masks(model, "gmm")
    assert model.training
    assert not model.blocks[0].training
    assert model.blocks[1].attn.training


def test_masks_follow_the_image_size_of_a_vit() -> None:
    """By timm's own means: a model set to another size, and one that takes any."""
    model = add_masks(plain("ViT"), "gmm")
    model.set_input_size((40, 16))
    assert model(normal(0, 1, 3, 40, 16, dtype=torch.float32)).shape == (1, 5)
    assert set(grids_of(model).values()) == {Grid((5, 2), prefix=1)}
    anysize = add_masks(plain("ViT", dynamic_img_size=True), "gmm")
    outputs = {}
    for size in ((32, 32), (16, 64), (64, 16)):
        outputs[size] = anysize(normal(0, 1, 3, *size, dtype=torch.float32))
        assert set(grids_of(anysize).values()) == {Grid((size[0] // 8, size[1] // 8), prefix=1)}
    # 2×8 and 8×2 tokens have equally many, so only the grid tells their masks apart.
    assert float((outputs[16, 64] - outputs[64, 16]).detach().abs().max()) > 1e-4


def test_masks_follow_the_windows_of_a_swin() -> None:
    model = add_masks(plain("Swin"), "gmm")
    model.set_input_size((64, 64), window_size=8)
    assert model(normal(0, 1, 3, 64, 64, dtype=torch.float32)).shape == (1, 5)
    assert set(grids_of(model).values()) == {Grid((8, 8))}


def test_an_elementwise_mask_says_that_it_cannot_follow() -> None:
    model = add_masks(plain("ViT"), "elm", start="ones")
    model.set_input_size((40, 16))
    with pytest.raises(ValueError, match=r"learnt on Grid\(\(4, 4\)\) and cannot move to Grid\(\(5, 2\), prefix=1\)"):
        model(normal(0, 1, 3, 40, 16, dtype=torch.float32))


def test_tokens_that_go_missing_are_noticed() -> None:
    model = add_masks(plain("ViT", patch_drop_rate=0.5), "gmm").train()
    with pytest.raises(ValueError, match=r"sees 9 tokens, but its feature map makes Grid\(\(4, 4\), prefix=1\)"):
        model(images("ViT"))


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    """A block that timm checkpoints runs again in backward: the mask is in place then too."""
    gradients = []
    for checkpointing in (False, True):
        model = add_masks(plain("ViT"), "table").train()
        model.set_grad_checkpointing(checkpointing)
        model(images("ViT")).square().sum().backward()
        gradients.append(model.blocks[0].attn.mask.weight.grad)
    assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("mask", ["gmm", "table"])
def test_gradient_checkpointing_of_images_of_two_sizes(mask: str) -> None:
    """In one step, as of crops: each block that runs again has the grid that it had."""
    gradients = []
    for checkpointing in (False, True):
        model = add_masks(plain("ViT", dynamic_img_size=True), mask, placement="multiply_logits").train()
        model.set_grad_checkpointing(checkpointing)
        for sizes in (((32, 32), (16, 24), (16, 16)), ((64, 16), (16, 16))):  # a step each
            sum(model(normal(2, 1, 3, *size).float()).square().sum() for size in sizes).backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other)


def test_half_precision_computes_masks_in_float32() -> None:
    model = add_masks(plain("ViT").to(torch.bfloat16), "gmm")
    assert {mask.sigma.dtype for mask in masks_of(model).values()} == {torch.float32}
    assert model(images("ViT").bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert bool(torch.isfinite(add_masks(plain("ViT"), "gmm")(images("ViT"))).all())


def test_maxvit_and_coatnet_and_hybrids() -> None:
    """Windows and grids of MaxViT, whole maps of CoAtNet's, and a ViT behind convolutions."""
    small = {"img_size": 64, "num_classes": 5, "depths": (1, 1, 1, 1)}
    found = {}
    for name, arguments in (
        ("maxvit_rmlp_pico_rw_256", small),
        ("coatnet_rmlp_nano_rw_224", small),
        ("vit_small_r26_s32_224", {"img_size": 64, "depth": 1}),
    ):
        model = timm.create_model(name, **arguments).eval()
        x = normal(0, 1, 3, 64, 64, dtype=torch.float32)
        with torch.no_grad():
            expected = model(x)
            # MaxViT and CoAtNet name their image size from timm 1.0.31 on.
            add_masks(model, "table", example=x)
            assert_close(model(x), expected)
        found[name.split("_")[0]] = {(grid.shape, grid.prefix) for grid in grids_of(model).values()}
    assert found == {"maxvit": {((2, 2), 0)}, "coatnet": {((4, 4), 0), ((2, 2), 0)}, "vit": {((2, 2), 1)}}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("xcit_nano_12_p16_224", "attends between channels, not between tokens"),
        (
            "crossvit_9_240",
            r"no feature map has its 197 tokens, with \[5\] prefix tokens.*give their number as prefix=",
        ),
        ("resnet18", "no attention was computed"),
        (
            "halonet26t",
            r"its 64 queries and 144 keys are not the same tokens \(pooled or strided ones, or with a halo\)",
        ),
    ],
)
def test_models_without_a_place_for_masks_are_refused_with_the_reason(name: str, reason: str) -> None:
    model = timm.create_model(name)
    with pytest.raises(UnsupportedModelError, match=rf"{reason}.*retconv looks for modules that call torch's"):
        add_masks(model, "gmm", prefix=5 if "crossvit" in name else None)


def test_attention_that_stays_plain_is_told() -> None:
    """Twins attends in windows, into which small maps are padded, and to pooled keys."""
    model = timm.create_model("twins_svt_small", img_size=64).eval()
    with pytest.warns(UserWarning, match=r"masks are in 10 attention modules; 8 stay plain, as 'blocks.0.1.attn'"):
        add_masks(model, "gmm")
    masked = next(iter(masks_of(model)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add_masks(remove_masks(model), "gmm", where=masked)
        add_masks(plain("CaiT"), "gmm")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_raster_mask_is_a_convolution_of_the_grid(shape: tuple[int, ...]) -> None:
    """The raster index is linear in the coordinates, so a line's kernel at raster offsets is the grid's kernel."""
    for line in (RetNetMask(2, torch.tensor([0.7, 0.9])), DecayMask(2, "two_sided", torch.tensor([0.5, 0.8]))):
        mask, grid = RasterMask(line), Grid(shape)
        assert_exact(kernel_to_mask(mask.kernel(grid), grid), mask(grid))
        assert_exact(mask(grid), line(Grid(grid.size)))
        assert_exact(mask_to_kernel(mask(grid), grid), mask.kernel(grid))
        assert_exact(mask(Grid(shape, prefix=1))[:, 1:, 1:], mask(grid))


def test_what_vit_accepts_is_named() -> None:
    """Removing masks twice is harmless, and adding them twice is refused (see the table of errors)."""
    model = remove_masks(remove_masks(add_masks(plain("ViT"), "gmm")))
    assert not masks_of(model)
    assert VIT["depth"] == len(masks_of(add_masks(model, "gmm")))


def test_names_of_masks_are_said_before_any_is_imported() -> None:
    assert tuple(MASKS) == MASK_NAMES
