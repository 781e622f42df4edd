"""Masks have no weight decay, whoever makes the optimiser."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn
from transformers import Trainer, TrainingArguments

from retconv.models import SparesMasks, add_masks, mask_parameters, remove_masks, spare_masks
from tests.models.cases import plain
from tests.models.interop import hugging_face


class Wrapper(nn.Module):
    """A model around a model, which no factory looks into."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body


def decayed(optimizer: torch.optim.Optimizer, model: nn.Module) -> set[str]:
    """Names of what an optimiser decays."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [group for group in optimizer.param_groups if group["weight_decay"]]
    return {names[id(p)] for group in groups for p in group["params"]}


@pytest.mark.parametrize("family", ["ViT", "Swin", "CaiT"])
@pytest.mark.parametrize("layer_decay", [None, 0.75])
def test_timm_decays_what_it_did_and_no_mask(family: str, layer_decay: float | None) -> None:
    """Of the plain model's parameters the same ones; all are in the optimiser once; layers keep their rates."""
    masked, before = add_masks(plain(family), "gmm"), plain(family)
    options: dict[str, Any] = {"opt": "adamw", "lr": 1e-3, "weight_decay": 0.05, "layer_decay": layer_decay}
    optimizer = create_optimizer_v2(masked, **options)
    assert decayed(optimizer, masked) == decayed(create_optimizer_v2(before, **options), before)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in masked.parameters() if p.requires_grad)
    if layer_decay is not None and family == "ViT":
        rates = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
        for block in masked.blocks:  # type: ignore[union-attr]
            assert rates[id(block.attn.mask.sigma)] == rates[id(block.attn.qkv.weight)]


@pytest.mark.parametrize("share", ["head", "model"])
@pytest.mark.parametrize("mask", ["gmm", "table", "swin_table", "gpsa"])
def test_every_mask_of_more_than_one_axis_is_left_out(mask: str, share: Any) -> None:
    model = add_masks(plain("ViT"), mask, share=share)
    assert mask_parameters(model)
    assert not decayed(create_optimizer_v2(model, weight_decay=0.05), model) & set(mask_parameters(model))


def test_a_factory_of_matrices_leaves_masks_to_its_other_optimiser() -> None:
    """Timm's Muon makes updates of matrices orthogonal, which σ and α are not: asked to, it spares what is named."""
    model = add_masks(plain("ViT"), "gmm")
    groups = create_optimizer_v2(model, opt="muon", weight_decay=0.05, fallback_no_weight_decay=True).param_groups
    spared = {id(p) for group in groups if group.get("use_fallback") for p in group["params"]}
    assert {id(p) for p in mask_parameters(model).values()} <= spared


def test_a_compiled_model_asks_the_model_it_has() -> None:
    """Its names begin with ``_orig_mod``, which the patterns allow."""
    model = torch.compile(add_masks(plain("ViT"), "gmm"), backend="eager")
    found = decayed(create_optimizer_v2(model, weight_decay=0.05), model)  # type: ignore[arg-type]
    assert found
    assert not [name for name in found if ".mask." in name]


def test_copies_and_pickles_tell_of_their_own_masks_and_a_bare_model_of_none() -> None:
    model = add_masks(plain("ViT"), "gmm")
    copied = copy.deepcopy(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for one in (copied, torch.load(file, weights_only=False)):
        assert not decayed(create_optimizer_v2(one, weight_decay=0.05), one) & set(mask_parameters(one))
    remove_masks(copied)
    assert copied.no_weight_decay() == plain("ViT").no_weight_decay()
    assert set(mask_parameters(model)) < set(model.no_weight_decay())


def test_a_method_of_the_object_stays_and_comes_back() -> None:
    """Where somebody has given the model a rule of their own."""
    model = plain("ViT")
    model.__dict__["no_weight_decay"] = lambda: {"head.weight"}
    add_masks(model, "gmm")
    assert {"head.weight", "blocks.0.attn.mask.sigma"} <= model.no_weight_decay()
    assert remove_masks(model).no_weight_decay() == {"head.weight"}


def test_a_rule_of_a_model_that_never_had_masks_stays() -> None:
    model = plain("ViT")
    model.__dict__["no_weight_decay"] = lambda: {"head.weight"}
    assert remove_masks(model).no_weight_decay() == {"head.weight"}


def test_names_of_an_optimiser_stay_with_their_parameters() -> None:
    model = add_masks(plain("ViT"), "gmm")
    optimizer = spare_masks(torch.optim.AdamW(model.named_parameters(), weight_decay=0.05), model)
    named = dict(model.named_parameters())
    assert len(optimizer.param_groups) == 2
    for group in optimizer.param_groups:
        assert all(named[name] is p for name, p in zip(group["param_names"], group["params"], strict=True))


def test_an_optimiser_that_exists_is_mended() -> None:
    """Around a wrapper, of one group and of several; the other settings of a group stay."""
    wrapper = Wrapper(add_masks(plain("ViT"), "gmm"))
    masks = mask_parameters(wrapper)
    optimizer = torch.optim.AdamW(wrapper.parameters(), lr=0.3, weight_decay=0.05)
    before = decayed(optimizer, wrapper)
    spare_masks(optimizer, wrapper)
    assert decayed(optimizer, wrapper) == before - set(masks)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(wrapper.parameters()))
    alone = torch.optim.SGD(masks.values(), lr=0.1, weight_decay=0.05)
    assert [group["weight_decay"] for group in spare_masks(alone, wrapper).param_groups] == [0.0]
    spare_masks(optimizer, wrapper)
    assert len(optimizer.param_groups) == 2


def test_the_trainer_of_transformers(tmp_path: Path) -> None:
    """Its own names, less those of masks; and by the mended optimiser, which it takes as it is."""

    class Mine(SparesMasks, Trainer):
        pass

    model = add_masks(hugging_face(), "gmm")
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], weight_decay=0.05, learning_rate=0.1)
    theirs = decayed(Trainer(model, args).create_optimizer(), model)
    mine = decayed(Mine(model, args).create_optimizer(), model)
    assert theirs - mine == set(mask_parameters(model))
    assert mine < theirs
    assert decayed(spare_masks(Trainer(model, args).create_optimizer(), model), model) == mine
