"""Measuring trained models: on planted ones, of which the answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

from retconv.convert import crop, kernel_to_mask
from retconv.masks import KernelTableMask
from retconv.measure import Trained
from retconv.measure.observe import effective_kernels, replaced, truncated_kernels, with_places
from retconv.models import masks_of
from retconv.models.surgery import masked_modules
from tests.train.small import few_digits

OPTIONS = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 10}


def planted(seed: int = 0, **options: Any) -> Trained:
    """An untrained model, with weights large enough for its attention to be far from uniform."""
    torch.manual_seed(seed)
    model = timm.create_model("retconv_vit_tiny", **OPTIONS, **options)
    for name, p in model.named_parameters():
        if "qkv" in name:
            torch.nn.init.normal_(p)
    data = few_digits()
    images, labels = data.test_images, data.test_labels
    return Trained(model.eval().requires_grad_(False), images, labels, lambda x: x.float() / 255, "float32")


def logits(trained: Trained) -> torch.Tensor:
    return torch.cat([chunk for chunk, _ in trained.logits()])


def test_accuracy_and_loss_by_hand() -> None:
    trained = planted()
    p = torch.softmax(logits(trained).double(), dim=1)
    labels = trained.labels.tolist()
    hits = [int(row.argmax()) == label for row, label in zip(p, labels, strict=True)]
    loss, accuracy = trained.evaluate()
    assert accuracy == pytest.approx(100 * sum(hits) / len(hits))
    assert loss == pytest.approx(
        -sum(float(row[i].log()) for row, i in zip(p, labels, strict=True)) / len(labels), rel=1e-5
    )


def test_a_plain_model_with_places_is_the_same_to_the_bit() -> None:
    """As timm's plain attention is; its fused form sums in another order."""
    trained = planted()
    fused = logits(trained)
    for block in trained.model.blocks:
        block.attn.fused_attn = False
    before = logits(trained)
    torch.testing.assert_close(fused, before, rtol=1e-5, atol=1e-5)
    assert torch.equal(before, logits(with_places(trained)))
    assert len(masks_of(trained.model)) == 2
    masked = planted(mask="gmm")
    masks = list(masks_of(masked.model).values())
    assert list(masks_of(with_places(masked).model).values()) == masks


def test_effective_kernel_of_a_convolution_is_its_kernel() -> None:
    """Attention whose weights are a known kernel for every image: all variance is explained, nothing is left over."""
    trained = planted(mask="table", placement="convolution")
    for i, mask in enumerate(masks_of(trained.model).values()):
        mask.weight.copy_(torch.rand(mask.weight.shape, generator=torch.Generator().manual_seed(i)))
    found = effective_kernels(trained)
    assert list(found) == ["blocks.0.attn", "blocks.1.attn"]
    for one, mask in zip(found.values(), masks_of(trained.model).values(), strict=True):
        torch.testing.assert_close(one.kernel, mask.weight.double(), rtol=1e-6, atol=0)
        torch.testing.assert_close(one.explained, torch.ones(2, dtype=torch.float64), rtol=1e-6, atol=0)
        assert one.count == 60


def test_observing_leaves_nothing_behind() -> None:
    trained = planted(mask="gmm")
    before = logits(trained)
    effective_kernels(trained)
    assert all(module.observer is None for _, module in masked_modules(trained.model))
    assert torch.equal(before, logits(trained))


@pytest.mark.parametrize("placement", ["multiply_logits", "bias_logits", "multiply_weights"])
def test_observed_attention_is_the_attention_that_is_computed(placement: str) -> None:
    """Where a fused form would be chosen, weights are formed by the formula: the output is the same up to rounding."""
    options = {"mask": "gmm", "mask_options": {"components": 1, "positive": True}, "placement": placement}
    trained = planted(**options)
    before = logits(trained)
    for _, module in masked_modules(trained.model):
        module.observer = lambda weights: None
    torch.testing.assert_close(before, logits(trained), rtol=1e-5, atol=1e-5)


def test_uniform_attention_is_its_effective_kernel() -> None:
    """Queries of 0 attend to all tokens alike: 1/N at every offset, with which the model's logits are unchanged."""
    trained = with_places(planted())
    for block in trained.model.blocks:
        block.attn.qkv.weight[:16] = 0
    before = logits(trained)
    kernels = {name: one.kernel for name, one in effective_kernels(trained).items()}
    for kernel in kernels.values():
        torch.testing.assert_close(kernel, torch.full_like(kernel, 1 / 16), rtol=1e-6, atol=0)
    with replaced(trained.model, kernels, "convolution"):
        torch.testing.assert_close(before, logits(trained), rtol=1e-5, atol=1e-6)


def test_attention_to_content_is_not_its_effective_kernel() -> None:
    trained = with_places(planted())
    before = logits(trained)
    kernels = {name: one.kernel for name, one in effective_kernels(trained).items()}
    with replaced(trained.model, kernels, "convolution"):
        assert not torch.allclose(before, logits(trained), atol=1e-2)


def test_a_layer_replaced_is_the_kernel_times_its_values() -> None:
    """``y = M V`` by hand, for an offset kernel that no symmetry could hide a flip of."""
    trained = with_places(planted())
    attention = trained.model.blocks[0].attn
    kernel = torch.zeros(2, 7, 7)
    kernel[0, 3 + 1, 3 - 2] = 1.0  # the key one row below and two columns to the left
    kernel[1, 3, 3] = 0.5
    x = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    v = (x @ attention.qkv.weight[32:].T).view(16, 2, 8)
    moved = torch.zeros(16, 2, 8)
    for row in range(4):
        for column in range(4):
            if row + 1 < 4 and column - 2 >= 0:
                moved[4 * row + column, 0] = v[4 * (row + 1) + column - 2, 0]
            moved[4 * row + column, 1] = 0.5 * v[4 * row + column, 1]
    trained.evaluate()
    with replaced(trained.model, {"blocks.0.attn": kernel}, "convolution"):
        out = attention(x)
    torch.testing.assert_close(out[0], attention.proj(moved.reshape(16, 16)), rtol=1e-5, atol=1e-6)


def test_a_replaced_model_is_afterwards_what_it_was() -> None:
    trained = planted(mask="gmm")
    before, masks = logits(trained), masks_of(trained.model)
    with replaced(trained.model, truncated_kernels(trained.model, 1)):
        assert all(isinstance(mask, KernelTableMask) for mask in masks_of(trained.model).values())
    assert masks_of(trained.model) == masks
    assert torch.equal(before, logits(trained))


@pytest.mark.parametrize("mask", ["gmm", "table", "two_sided", "manhattan"])
def test_a_kernel_that_is_not_cut_changes_nothing(mask: str) -> None:
    trained = planted(mask=mask)
    for one in masks_of(trained.model).values():
        if isinstance(one, KernelTableMask):
            one.weight.copy_(torch.randn(one.weight.shape, generator=torch.Generator().manual_seed(0)))
    before = logits(trained)
    with replaced(trained.model, truncated_kernels(trained.model, 7)):
        torch.testing.assert_close(before, logits(trained), rtol=1e-5, atol=1e-5)
    with replaced(trained.model, truncated_kernels(trained.model, 3)):
        assert not torch.allclose(before, logits(trained), atol=1e-4)


def test_truncation_keeps_the_window_and_nothing_else() -> None:
    trained = planted(mask="gmm")
    for size in (1, 3, 5):
        for kernel, mask in zip(
            truncated_kernels(trained.model, size).values(), masks_of(trained.model).values(), strict=True
        ):
            whole = mask.kernel((4, 4))
            low, high = 3 - size // 2, 4 + size // 2
            assert torch.equal(kernel[:, low:high, low:high], whole[:, low:high, low:high])
            assert int((kernel != 0).sum()) <= 2 * size**2


def test_an_elementwise_mask_is_projected_before_it_is_cut() -> None:
    """A planted mask that is a convolution is its own projection."""
    trained = planted(mask="elm")
    kernel = torch.randn(1, 7, 7, generator=torch.Generator().manual_seed(0))
    for mask in masks_of(trained.model).values():
        mask.weight.copy_(kernel_to_mask(kernel, (4, 4)))
    for cut in truncated_kernels(trained.model, 7).values():
        torch.testing.assert_close(cut, kernel.expand(2, -1, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", ["gmm", "manhattan", "euclidean"])
def test_offset_masks_move_exactly_to_a_larger_image(mask: str) -> None:
    """At twice the size the kernel is that of the larger grid, of which the smaller one's is the middle."""
    trained = planted(mask=mask)
    trained.evaluate()
    model: Any = trained.model
    before = {name: module.mask.kernel(module.place.grid()) for name, module in masked_modules(model)}
    model.set_input_size(img_size=(16, 16))
    loss, accuracy = trained.evaluate(16)
    assert 0 <= accuracy <= 100
    assert loss > 0
    for name, module in masked_modules(model):
        assert module.place.grid().shape == (8, 8)
        torch.testing.assert_close(crop(module.mask.kernel((8, 8)), (4, 4)), before[name], rtol=1e-6, atol=0)


def test_images_of_the_own_size_are_not_resized() -> None:
    trained = planted()
    assert torch.equal(logits(trained), torch.cat([x for x, _ in trained.logits(8)]))


def test_bfloat16_runs_are_measured_in_bfloat16() -> None:
    trained = planted()
    coarse = replace(trained, precision="bfloat16")
    assert not torch.equal(logits(trained), logits(coarse))
    assert logits(coarse).dtype == torch.float32


def test_a_bfloat16_model_can_be_observed_and_replaced() -> None:
    """What a GPU trains is measured as it was trained."""
    trained = replace(with_places(planted()), precision="bfloat16")
    kernels = {name: one.kernel for name, one in effective_kernels(trained).items()}
    with replaced(trained.model, kernels, "convolution"):
        assert bool(torch.isfinite(logits(trained)).all())
    masked = replace(planted(mask="gmm"), precision="bfloat16")
    with replaced(masked.model, truncated_kernels(masked.model, 3)):
        assert bool(torch.isfinite(logits(masked)).all())
