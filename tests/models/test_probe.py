"""Tokens that do not lie by rows are refused: a changed patch of the image moves another token than its own."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from retconv.models import UnsupportedModelError, add_masks, masks_of

SIDE = 8


class Reorder(nn.Module):
    """Stands before the first block, and puts patch tokens into another order."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, 1:].unflatten(1, (SIDE, SIDE))
        orders = {
            "rows": tokens,
            "columns": tokens.transpose(1, 2),
            "upside down": tokens.flip(1),
            "rolled": tokens.roll(3, 2),
            "units of 2×2": tokens.unflatten(1, (4, 2)).unflatten(3, (4, 2)).transpose(2, 3).flatten(1, 4),
            "shuffled": tokens.flatten(1, 2)[:, torch.randperm(64, generator=torch.Generator().manual_seed(0))],
            "shuffled anew": torch.stack([row[torch.randperm(64)] for row in tokens.flatten(1, 2)]),
        }
        if self.order.startswith("class token"):
            place = SIDE**2 if self.order.endswith("last") else SIDE**2 // 2
            return torch.cat((x[:, 1 : place + 1], x[:, :1], x[:, place + 1 :]), dim=1)
        moved = orders[self.order]
        return torch.cat((x[:, :1], moved.reshape(x.shape[0], SIDE**2, -1)), dim=1)


def vit(order: str) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, embed_dim=24, depth=2, num_heads=2)
    model.norm_pre = Reorder(order)
    return model


def test_tokens_by_rows_take_masks() -> None:
    assert len(masks_of(add_masks(vit("rows"), "gmm"))) == 2


@pytest.mark.parametrize(
    "order",
    [
        *("columns", "upside down", "rolled", "units of 2×2", "shuffled", "shuffled anew"),
        *("class token last", "class token in the middle"),
    ],
)
def test_tokens_in_another_order_are_refused(order: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"its tokens do not lie on their grid by rows"):
        add_masks(vit(order), "gmm")
