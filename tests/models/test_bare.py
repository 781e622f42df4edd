"""Attention whose module has no parameters: masks, kernels and convolved heads go where the model's are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.grid import Grid
from retconv.heads import convolve, load_convolutions
from retconv.measure.observe import replaced
from retconv.models import add_masks, masks_of, remove_masks
from tests.compare import assert_exact
from tests.strategies import normal


class Attend(nn.Module):
    """Attention by itself: what makes queries, keys and values stands outside, as in many hand-written models."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class Outside(nn.Module):
    """A model of one head whose attention module has no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.qkv, self.attend = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 18), Attend()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.patches(x).flatten(2).mT).unsqueeze(1).chunk(3, dim=-1)
        return self.attend(q, k, v).flatten(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_attention_without_parameters_takes_masks_and_convolutions(dtype: torch.dtype) -> None:
    """Device and dtype are then those of the model."""
    x = normal(2, 4, 3, 16, 20, dtype=torch.float64).to(dtype)
    model = add_masks(Outside().to(dtype), "table", example=x[:1])
    (mask,) = masks_of(model).values()
    assert next(mask.parameters()).dtype == torch.promote_types(dtype, torch.float32)
    with torch.no_grad():
        next(mask.parameters()).uniform_(-1, 1)
    kernel = mask.kernel(Grid((4, 5))).detach()
    with replaced(model, {"attend": 0 * kernel}, "convolution"):
        assert not model(x).any()
    assert model(x).any()
    convolve(remove_masks(model), images=x, heads={"attend": [0]}, rounds=0, example=x[:1])
    again = load_convolutions(Outside().to(dtype), model.state_dict(), example=x[:1])
    assert_exact(again(x), model(x))
