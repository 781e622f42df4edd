"""Errors of attention that masks are put into, and that changes afterwards."""

from __future__ import annotations

from typing import Any

import torch

from retconv.models import add_masks
from retconv.models.surgery import masked_modules
from tests.error_table import Error
from tests.models.cases import images, plain, pvt


def unfused() -> None:
    model: Any = add_masks(plain("ViT"), "gmm")
    model.blocks[0].attn.fused_attn = False
    model(images("ViT"))


def other_keys() -> None:
    model = add_masks(pvt(), "gmm", example=torch.zeros(1, 3, 64, 64, dtype=torch.float64), pooled=True)
    dict(masked_modules(model))["stages.0.blocks.0.attn"].place.between(256, 9)


MASKING: dict[str, Error] = {
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
