"""One small model of each family that takes masks, and images for it."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from tests.strategies import normal

SIZE = 32
VIT: dict[str, Any] = {"img_size": SIZE, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
SWIN: dict[str, Any] = {"img_size": SIZE, "patch_size": 4, "embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4)}
CAIT: dict[str, Any] = {"img_size": SIZE, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
PIT: dict[str, Any] = {"img_size": SIZE, "patch_size": 8, "stride": 4, "base_dims": (6, 6), "depth": (1, 1)}
#: One small model of each family, with how many of its attentions get a mask, and their grids.
FAMILIES: dict[str, tuple[str, dict[str, Any], int, set[tuple[tuple[int, ...], int]]]] = {
    "ViT": ("vit_tiny_patch16_224", VIT, 2, {((4, 4), 1)}),
    "ViT without class token": (
        "vit_tiny_patch16_224",
        VIT | {"class_token": False, "global_pool": "avg"},
        2,
        {((4, 4), 0)},
    ),
    "ViT of an oblong": ("vit_tiny_patch16_224", VIT | {"img_size": (16, 40)}, 2, {((2, 5), 1)}),
    "registers": ("vit_tiny_patch16_224", VIT | {"reg_tokens": 3}, 2, {((4, 4), 4)}),
    "DeiT distilled": ("deit_tiny_distilled_patch16_224", VIT, 2, {((4, 4), 2)}),
    "EVA02": ("eva02_tiny_patch14_224", VIT | {"patch_size": 8, "embed_dim": 24}, 2, {((4, 4), 1)}),
    "BEiT": ("beit_base_patch16_224", VIT, 2, {((4, 4), 1)}),
    "CaiT": ("cait_xxs24_224", CAIT, 2, {((4, 4), 0)}),
    "PiT": ("pit_ti_224", PIT | {"heads": (2, 4)}, 2, {((7, 7), 1), ((4, 4), 1)}),
    "Swin": ("swin_tiny_patch4_window7_224", SWIN | {"window_size": 4}, 3, {((4, 4), 0)}),
    "Swin v2": ("swinv2_tiny_window8_256", SWIN | {"window_size": 4}, 3, {((4, 4), 0)}),
}


def plain(family: str, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    name, arguments, _, _ = FAMILIES[family]
    model = timm.create_model(name, num_classes=5, **(arguments | more)).eval()
    for parameter in model.parameters():
        # timm starts near a constant function, where masks would hardly be felt.
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def images(family: str, batch: int = 2) -> Tensor:
    size = FAMILIES[family][1]["img_size"]
    height, width = size if isinstance(size, tuple) else (size, size)
    return normal(1, batch, 3, height, width, dtype=torch.float32)


def pvt() -> nn.Module:
    """A pyramid whose keys are pooled but in the last stage, in float64."""
    torch.manual_seed(0)
    model = timm.create_model(
        "pvt_v2_b0", num_classes=5, depths=(1, 1, 1, 1), embed_dims=(8, 8, 8, 8), num_heads=(2, 2, 2, 2)
    )
    return model.double().eval()
