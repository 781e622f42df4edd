"""Errors of attention that masks are put into, and that changes afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from retconv.models import add_masks, remove_masks
from retconv.models.surgery import masked_modules
from tests.error_table import Error
from tests.models.by_hand import FORMS, SIDE, ByHand, Model
from tests.models.cases import images, plain, pvt


def unfused() -> None:
    model: Any = add_masks(plain("ViT"), "gmm")
    model.blocks[0].attn.fused_attn = False
    model(images("ViT"))


def other_keys() -> None:
    model = add_masks(pvt(), "gmm", example=torch.zeros(1, 3, 64, 64, dtype=torch.float64), pooled=True)
    dict(masked_modules(model))["stages.0.blocks.0.attn"].place.between(256, 9)


def two_maps_of_one_size() -> None:
    """In one step, whose blocks backward runs again."""
    model: Any = add_masks(plain("ViT", dynamic_img_size=True), "manhattan").train()
    model.set_grad_checkpointing(True)
    sum(model(torch.rand(1, 3, *size)).sum() for size in ((16, 64), (64, 16))).backward()


def own_mask() -> None:
    model: Any = plain("ViT")
    model.blocks[0].attn.mask = None
    add_masks(model, "gmm")


def own_forward() -> None:
    model: Any = plain("ViT")
    model.blocks[1].attn.forward = model.blocks[1].attn.forward
    add_masks(model, "gmm")


def without_its_owner() -> None:
    model: Any = add_masks(plain("ViT"), "gmm", share="model")
    remove_masks(model.blocks[0])
    model(images("ViT"))


def no_product() -> None:
    model = add_masks(Model(ByHand(FORMS["scaled queries"])), "manhattan")
    model.attn.form = lambda q, k: (q[..., None, :] * k[..., None, :, :]).sum(-1)
    model(torch.rand(1, 3, SIDE, SIDE))


def checkpoint_within() -> None:
    model = add_masks(Model(ByHand(FORMS["scaled queries"])), "manhattan")
    plainly = model.attn.form
    model.attn.form = lambda q, k: checkpoint(lambda q, k: plainly(q, k).softmax(dim=-1), q, k, use_reentrant=False)
    model(torch.rand(1, 3, SIDE, SIDE))


MASKING: dict[str, Error] = {
    "a checkpoint of its own": (
        checkpoint_within,
        ValueError,
        "attention 'attn' attends within a checkpoint of its own, .*: checkpoint around it .*, or not at all",
    ),
    "scores of no product any more": (
        no_product,
        ValueError,
        "'attn' made its scores by the matrix product number 0 of those with heads when .*, and now does not: remove",
    ),
    "maps that checkpointing cannot tell apart": (
        two_maps_of_one_size,
        ValueError,
        r"'blocks.1.attn' is run again in backward .* after maps of \(2, 8\), \(8, 2\), all of 16 tokens, and nothing",
    ),
    "a module with a mask of its own": (
        own_mask,
        ValueError,
        "attention 'blocks.0.attn', a Attention, has its own mask, where a masked one keeps something else: call that",
    ),
    "a forward on the instance": (
        own_forward,
        ValueError,
        "attention 'blocks.1.attn' has a forward of its own on the instance, .*: put the masks in first",
    ),
    "a shared mask that was taken out": (
        without_its_owner,
        ValueError,
        "attention 'blocks.1.attn' had the mask of a layer from which it was removed: remove the masks of the whole",
    ),
    "attention that is computed otherwise": (
        unfused,
        ValueError,
        r"'blocks.0.attn' was masked when it computed by torch's scaled_dot_product_attention, and now",
    ),
    "keys of no map": (
        other_keys,
        ValueError,
        r"'stages.0.blocks.0.attn' sees 9 keys, but the map that they are pooled to makes Grid\(\(2, 2\)\): remove the",
    ),
    "a bias without a softmax": (
        lambda: add_masks(plain("Swin v2"), "gmm", placement="retention"),
        ValueError,
        r"adds a bias to its scores, and retention has no softmax, so a bias on logits has no meaning: choose another",
    ),
}

TABLES = {"masking": MASKING}
