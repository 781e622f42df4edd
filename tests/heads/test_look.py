"""``retconv.look`` on planted models: kernels recovered, shares by loops, windows, prefix tokens, nothing changed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

import retconv
from retconv.convert import kernel_to_mask, project
from retconv.grid import Grid
from retconv.heads import Look, looking
from retconv.masks import GaussianMixtureMask
from retconv.models import add_masks, masks_of
from retconv.models.surgery import masked_modules
from tests.analysis import naive_effective
from tests.compare import assert_close, assert_exact
from tests.heads import naive_look as by_loops
from tests.heads.cases import SHAPE, pictures, planted, table, vit
from tests.models.cases import images, plain
from tests.strategies import HEADS, kernel_of


def look(model: nn.Module, x: Any, **options: Any) -> Look:
    return retconv.look(model, x, progress=False, **options)


def weights_of(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The weights of every attention of a masked model, as its observers see them."""
    seen: dict[str, list[Tensor]] = {name: [] for name, _ in masked_modules(model)}
    for name, module in masked_modules(model):
        module.observer = seen[name].append
    with torch.no_grad():
        model(x)
    for _, module in masked_modules(model):
        module.observer = None
    return {name: parts[0] for name, parts in seen.items()}


def state(model: nn.Module) -> list[Any]:
    """Everything that a model holds: classes, modes, attributes, hooks, numbers."""
    parts: list[Any] = []
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers", "_modules")}
        parts.append((name, type(module), sorted(own), str(own), list(module._modules)))
        parts += [
            (key, id(value), value.detach().clone()) for key, value in module._parameters.items() if value is not None
        ]
        parts += [(key, id(value), value.clone()) for key, value in module._buffers.items() if value is not None]
    return parts


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        len(a) == len(b)
        and all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


# --- planted kernels ------------------------------------------------------------------------------------------------


def test_attention_that_is_a_convolution_is_its_kernel() -> None:
    kernel = kernel_of(SHAPE, 0).abs().float()
    result = look(planted(table(kernel), "convolution"), pictures(5))
    for layer in result.layers.values():
        assert_close(layer.kernel, kernel, torch.float32)
        assert_close(layer.effective.explained, [1.0, 1.0], torch.float32)
        assert_close(layer.explained_by(layer.kernel), [1.0, 1.0], torch.float32)
        assert {v.kind for v in layer.verdicts} <= {"local", "convolution"}
    assert list(result.kernels) == ["blocks.0.attn", "blocks.1.attn"]


def test_law_17_attention_that_is_a_row_normalised_kernel_has_the_projection_of_it() -> None:
    """Queries of 0: softmax(log M) is M over its row sums, whose border the kernel does not explain."""
    kernel = kernel_of(SHAPE, 0).exp().float()
    result = look(planted(table(kernel), "bias_logits"), pictures(3))
    mask = kernel_to_mask(kernel.double(), SHAPE)
    normalised = mask / mask.sum(dim=-1, keepdim=True)
    for layer in result.layers.values():
        assert_close(layer.kernel, project(normalised, SHAPE).kernel, torch.float32)
        for head in range(HEADS):
            assert float(layer.effective.explained[head]) == pytest.approx(
                by_loops.share([normalised[head].tolist()], SHAPE), rel=1e-5
            )
        assert float(layer.effective.explained.max()) < 0.999


def test_every_share_of_a_plain_model_by_loops() -> None:
    """Of a model that nothing was planted in, from the weights that its own attention forms."""
    model, x = vit(), pictures(6)
    result = look(model, x)
    seen = weights_of(add_masks(model, "table"), x)
    for layer in result.layers.values():
        for head, row in enumerate(layer.rows):
            matrices = seen[layer.name][:, head].double().tolist()
            kernel, shares = naive_effective.effective(matrices, SHAPE)
            names = ("explained", "position", "content")
            assert [row[name] for name in names] == pytest.approx(shares, rel=1e-5)
            assert row["circulant"] == pytest.approx(by_loops.circulant(matrices, SHAPE), rel=1e-5)
            assert row["variation"] == pytest.approx(by_loops.variation(matrices), rel=1e-5)
            estimate, _ = by_loops.jackknife([[m] for m in matrices], SHAPE)
            assert row["explained_estimate"] == pytest.approx(estimate, abs=1e-5)
            assert row["explained_low"] <= max(estimate, 0) <= row["explained_high"]
            fitted = layer.gaussian.kernel[head].flatten().tolist()
            fitted = dict(zip(sorted(kernel), fitted, strict=True))
            assert row["sigma_explained"] == pytest.approx(by_loops.explained_by(matrices, SHAPE, fitted), abs=1e-5)
            reached = [
                w * math.dist((q // 5, q % 5), (k // 5, k % 5))
                for matrix in matrices
                for q, line in enumerate(matrix)
                for k, w in enumerate(line)
            ]
            assert row["mean_distance"] == pytest.approx(math.fsum(reached) / len(matrices) / 15, rel=1e-5)
            assert row["mean_distance_px"] == pytest.approx(8 * row["mean_distance"])


# --- prefix tokens, windows, several grids --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "prefix"), [({"class_token": True, "global_pool": "token"}, 1), ({"reg_tokens": 3}, 3)]
)
def test_prefix_tokens_are_left_out_and_their_share_is_told(more: dict[str, Any], prefix: int) -> None:
    """Queries of 0 attend to all tokens alike, and so to prefix tokens by their number."""
    kernel = torch.ones(1, *Grid(SHAPE).kernel_shape)
    result = look(planted(table(kernel), "multiply_logits", **more), pictures(3))
    for layer in result.layers.values():
        assert layer.grid == Grid(SHAPE, prefix=prefix)
        assert_close(layer.streamed.prefix, [prefix / (15 + prefix)] * 2, torch.float32)
        assert_close(layer.kernel, torch.full((2, 5, 9), 1 / (15 + prefix)), torch.float32)
        assert {verdict.kind for verdict in layer.verdicts} == {"uniform"}


def test_windows_are_grids_of_their_own() -> None:
    """32 pixels, patches of 4: 8×8 tokens in 4 windows of 4×4, then 4×4 in one."""
    model = plain("Swin")
    result = look(model, images("Swin", 3))
    assert [(layer.grid.shape, layer.windows, len(layer.kernel)) for layer in result.layers.values()] == [
        ((4, 4), 4, 2),
        ((4, 4), 4, 2),
        ((4, 4), 1, 4),
    ]
    assert [layer.effective.count for layer in result.layers.values()] == [12, 12, 3]
    assert [math.isnan(layer.pixels) for layer in result.layers.values()] == [True, True, False]
    assert result.layers["layers.1.blocks.0.attn"].pixels == 8
    frame = result.to_frame()
    assert list(frame["layer"]) == [0, 0, 1, 1, 2, 2, 2, 2]
    assert frame["mean_distance_px"].isna().tolist() == [True] * 4 + [False] * 4


def test_a_model_of_several_grids() -> None:
    result = look(plain("PiT"), images("PiT", 3))
    assert [layer.grid for layer in result.layers.values()] == [Grid((7, 7), 1), Grid((4, 4), 1)]
    assert len(result.plot().axes) == 2 + 4


@pytest.mark.filterwarnings("ignore:masks are in")
def test_keys_of_a_coarser_grid_are_left_out_with_a_note() -> None:
    """PVT pools keys in all stages but the last."""
    model = timm.create_model("pvt_v2_b0", num_classes=5, depths=(1, 1, 1, 1)).eval()
    plain_look = look(model, pictures(2, (64, 64)))
    assert list(plain_look.layers) == ["stages.3.blocks.0.attn"]
    assert "3 stay plain, as 'stages.0.blocks.0.attn'" in plain_look.notes[0]
    masked = look(add_masks(model, "manhattan", pooled=True), pictures(2, (64, 64)))
    assert list(masked.layers) == ["stages.3.blocks.0.attn"]
    assert masked.notes[0].startswith(
        "stages.0.blocks.0.attn, stages.1.blocks.0.attn, stages.2.blocks.0.attn: keys lie"
    )


# --- the model is left as it was ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["ViT", "Swin", "Swin v2", "CaiT"])
def test_the_model_is_left_bit_for_bit_as_it_was(family: str) -> None:
    model, x = plain(family), images(family, 2)
    model.train()
    next(model.children()).eval()
    torch.manual_seed(3)
    before, random = state(model), torch.random.get_rng_state()
    look(model, x)
    assert same(before, state(model))
    assert torch.equal(random, torch.random.get_rng_state())
    assert not masks_of(model)


@pytest.mark.parametrize("library", ["torchvision", "transformers"])
def test_models_of_other_libraries_are_left_as_they_were(library: str) -> None:
    """Torch's multi-head module, and an attention function chosen by configuration."""
    if library == "torchvision":
        model: nn.Module = torchvision.models.VisionTransformer(32, 8, 2, 2, 24, 48)
    else:
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
        model = transformers.ViTModel(transformers.ViTConfig(**sizes, image_size=32, patch_size=8))
    before = state(model.train())
    result = look(model, pictures(3, (32, 32)))
    assert same(before, state(model))
    assert [layer.grid for layer in result.layers.values()] == [Grid((4, 4), prefix=1)] * 2
    assert [layer.pixels for layer in result.layers.values()] == [8, 8]


def test_a_model_that_fails_is_left_as_it_was() -> None:
    model = vit()
    before = state(model)
    with pytest.raises(ValueError, match="no attention matches where='neck"):
        look(model, pictures(2), where="neck*")
    with pytest.raises(ValueError, match="must all be of one size"):
        look(model, [pictures(2), pictures(2, (32, 32))])
    assert same(before, state(model))


def test_masks_and_observers_of_the_model_stay() -> None:
    model = add_masks(vit(), "gmm", where="blocks.1.*")
    seen: list[Tensor] = []
    (module,) = (module for _, module in masked_modules(model))
    module.observer = seen.append
    mask = module.mask
    result = look(model, pictures(3))
    assert list(result.layers) == ["blocks.1.attn"]
    assert module.mask is mask
    assert not seen
    with torch.no_grad():
        model(pictures(2))
    assert len(seen) == 1


# --- images ---------------------------------------------------------------------------------------------------------


def test_images_come_as_tensor_batches_pairs_or_mappings() -> None:
    model, x = vit(depth=1), pictures(7)
    whole = look(model, x)
    for given in (
        [x[:3], x[3:]],
        iter([(x[:5], torch.zeros(5)), (x[5:], torch.zeros(2))]),
        [{"pixel_values": x.double(), "labels": None}],
    ):
        result = look(model, given)
        assert result.images == 7
        for one, other in zip(result.layers.values(), whole.layers.values(), strict=True):
            assert_close(one.kernel, other.kernel, torch.float32)
            assert_close(one.streamed.interval.low, other.streamed.interval.low, torch.float32)
    assert look(model, [x[:3], x[3:]], limit=4).images == 4
    assert look(model, x, limit=4).images == 4


def test_batches_are_as_large_as_their_weights_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image goes alone: 15² weights of four bytes in two heads, so that 5,400 bytes allow three."""
    model, sizes = vit(depth=1), []
    handle = model.patch_embed.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
    monkeypatch.setattr(looking, "_BYTES", 3 * 2 * 15**2 * 4)
    look(model, pictures(9))
    assert sizes[-4:] == [1, 3, 3, 2]
    monkeypatch.undo()
    look(model, pictures(70))
    assert sizes[-4:] == [1, 32, 32, 5]
    handle.remove()


def test_two_looks_are_the_same_and_half_precision_is_looked_at_in_its_own() -> None:
    model, x = vit(depth=1), pictures(4)
    first, second = look(model, x), look(model, x)
    assert_exact(first.layers["blocks.0.attn"].kernel, second.layers["blocks.0.attn"].kernel)
    half = look(model.bfloat16(), x)
    assert float((half.layers["blocks.0.attn"].kernel - first.layers["blocks.0.attn"].kernel).abs().max()) < 0.05


def test_a_wide_mask_of_several_gaussians_is_found() -> None:
    """σ of the planted masks, from 24×24 tokens away from the border: the fits' own numbers."""
    sigma = torch.tensor([[0.8], [1.6]])
    model = planted(
        lambda grid, heads: GaussianMixtureMask.from_parameters(sigma, torch.ones(2, 1)),
        "convolution",
        img_size=(96, 96),
    )
    for layer in look(model, pictures(2, (96, 96))).layers.values():
        assert [row["sigma"] for row in layer.rows] == pytest.approx([0.8, 1.6], rel=1e-4)
        assert [row["sigma_explained"] for row in layer.rows] == pytest.approx([1, 1], abs=1e-6)
        assert [v.text for v in layer.verdicts] == [
            "local: a Gaussian of σ = 0.8 explains 1.00",
            "local: a Gaussian of σ = 1.6 explains 1.00",
        ]


def test_heads_become_the_convolutions_that_they_were_looked_at_as() -> None:
    """Attention that is a convolution is replaced by it without a change."""
    kernel = kernel_of(SHAPE, 0).abs().float()
    model, x = planted(table(kernel), "convolution"), pictures(4)
    before = model(x).detach()
    retconv.convolve(model, look=look(model, x), images=x, tolerance=1e-4, rounds=0)
    assert_close(model(x), before, torch.float32)
