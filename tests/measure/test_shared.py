"""Kernels in the place of one mask that all layers share."""

from __future__ import annotations

import pytest

from retconv.measure.observe import replaced
from retconv.models import add_masks, kernels_of, masks_of
from tests.compare import assert_exact
from tests.models.cases import images, plain


@pytest.mark.parametrize("layer", [0, 1])
def test_one_layer_is_replaced_and_the_others_keep_the_mask(layer: int) -> None:
    """The owner of the mask or another; as in a model whose layers have masks of their own; afterwards as before."""
    shared, x = add_masks(plain("ViT without class token"), "gmm", share="model"), images("ViT")
    mask, other = masks_of(shared)["blocks.0.attn"], 0.5 * kernels_of(shared)["blocks.0.attn"].detach()
    apart = add_masks(plain("ViT without class token"), "gmm", share="layer")
    for one in masks_of(apart).values():
        one.load_state_dict(mask.state_dict())
    keys, before = list(shared.state_dict()), shared(x)
    name = f"blocks.{layer}.attn"
    with replaced(apart, {name: other}):
        expected = apart(x)
    with replaced(shared, {name: other}):
        assert_exact(shared(x), expected)
    assert list(shared.state_dict()) == keys
    assert_exact(shared(x), before)
    assert len({id(one) for one in masks_of(shared).values()}) == 1
