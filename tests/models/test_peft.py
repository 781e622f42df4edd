"""Masks beside adapters: peft keeps a copy of a mask, trains it with LoRA, saves it, and gives it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from retconv.models import add_masks, kernels_of, mask_parameters, masks_of, remove_masks, spare_masks
from tests.compare import assert_close, assert_exact
from tests.models.cases import images, plain
from tests.models.interop import hugging_face

CONFIG: dict[str, Any] = {"target_modules": "all-linear", "modules_to_save": ["mask"], "init_lora_weights": False}


def adapted(family: str = "ViT", **options: Any) -> Any:
    torch.manual_seed(1)
    model = add_masks(plain(family), "gmm", **options)
    return peft.get_peft_model(model, peft.LoraConfig(**CONFIG)).eval()


def step(model: nn.Module, x: Tensor) -> set[str]:
    """One step of training; names of what has a gradient that is not 0."""
    learnt = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model(x).square().mean().backward()
    torch.optim.SGD(learnt.values(), lr=10.0).step()
    return {name for name, p in learnt.items() if p.grad is not None and bool(p.grad.any())}


@pytest.mark.parametrize("placement", ["multiply_logits", "multiply_weights"])
@pytest.mark.parametrize("family", ["ViT without class token", "Swin", "CaiT"])
def test_mask_and_adapter_train_together_and_become_one_model(family: str, placement: str) -> None:
    """Unloaded, the masks are those that were trained, and the model computes the same."""
    model, x = adapted(family, placement=placement), images(family)
    moved = step(model, x)
    assert {name for name in moved if ".mask.modules_to_save.default." in name} == {
        name for name in mask_parameters(model) if ".modules_to_save." in name
    }
    assert [name for name in moved if "lora_B" in name]
    expected, kernels = model(x), kernels_of(model)
    merged = model.merge_and_unload()
    assert_close(merged(x), expected)
    for kernel, one in zip(kernels.values(), kernels_of(merged).values(), strict=True):
        assert_exact(one, kernel.detach())
    assert not [name for name, _ in merged.named_modules() if "modules_to_save" in name]
    assert not masks_of(remove_masks(merged))


def test_one_mask_of_all_layers_is_everywhere_the_one_that_trains() -> None:
    model, x = adapted(share="model"), images("ViT")
    modules = [module.mask for module in model.modules() if hasattr(module, "placement")]
    assert len(modules) == 2
    assert modules[0] is modules[1]
    assert len([name for name in step(model, x) if ".mask." in name]) == 2
    expected = model(x)
    assert_close(model.merge_and_unload()(x), expected)


def test_saved_and_loaded_by_peft(tmp_path: Path) -> None:
    """The adapter's file has the masks; it goes onto the same masked model, made anew."""
    model, x = adapted(), images("ViT")
    step(model, x)
    model.save_pretrained(tmp_path)
    torch.manual_seed(2)
    loaded = peft.PeftModel.from_pretrained(add_masks(plain("ViT"), "gmm"), tmp_path).eval()
    assert_exact(loaded(x), model(x))


def test_without_the_adapter_the_masks_are_those_before() -> None:
    torch.manual_seed(1)
    before, x = add_masks(plain("ViT"), "gmm"), images("ViT")
    expected = before(x)
    model = peft.get_peft_model(before, peft.LoraConfig(**CONFIG)).eval()
    step(model, x)
    with model.disable_adapter():
        assert_exact(model(x), expected)
    assert not torch.equal(model(x), expected)


def test_a_model_of_transformers() -> None:
    """Masks and the classifier beside LoRA in its queries and values."""
    torch.manual_seed(1)
    model, x = add_masks(hugging_face(), "gpsa", placement="bias_logits"), images("ViT")
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["mask", "classifier"])
    adapted = peft.get_peft_model(model, config).eval()
    adapted(pixel_values=x).logits.square().sum().backward()
    moved = {name for name, p in adapted.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert any(".mask.modules_to_save.default.center" in name for name in moved)
    expected = adapted(pixel_values=x).logits
    assert_close(adapted.merge_and_unload()(x).logits, expected)


def test_optimisers_of_an_adapted_model_leave_its_masks_undecayed() -> None:
    model = adapted()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], weight_decay=0.05)
    assert [len(group["params"]) for group in spare_masks(optimizer, model).param_groups][1] == 4
    undecayed = [g for g in create_optimizer_v2(model, weight_decay=0.05).param_groups if not g["weight_decay"]]
    masks = {id(p) for p in mask_parameters(model).values() if p.requires_grad}
    assert masks <= {id(p) for group in undecayed for p in group["params"]}
