"""A mask acts on the attention of its own module, whatever else is computed around it and inside of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.models import add_masks, masks_of
from tests.compare import assert_close
from tests.models.by_hand import CHANNELS, FORMS, HEADS, SIDE, ByHand, Model
from tests.strategies import normal


class Adapted(nn.Linear):
    """A linear layer with an adapter of low rank, that is merged or two products of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))
        self.merged = False

    def forward(self, x: Tensor) -> Tensor:
        whole = F.linear(x, self.weight + self.up @ self.down if self.merged else self.weight, self.bias)
        return whole if self.merged else whole + x @ self.down.T @ self.up.T


def adapted(merged: bool) -> Model:
    torch.manual_seed(0)
    model = Model(ByHand(FORMS["scaled queries"]))
    model.attn.qkv = Adapted(CHANNELS, 3 * CHANNELS)
    model.attn.qkv.merged = merged
    return model.double().eval()


@pytest.mark.parametrize("placement", ["multiply_logits", "bias_logits", "multiply_weights"])
@pytest.mark.parametrize("merged", [False, True])
def test_adapters_may_be_merged_and_parted(placement: str, merged: bool) -> None:
    """Their matrix products come and go; those of scores are found all the same, beside a hook's product too."""
    x, model = normal(1, 2, 3, SIDE, SIDE), add_masks(adapted(merged), "manhattan", placement=placement, gamma=0.5)
    q, k, v = model.attn.qkv(model.embed(x).flatten(2).mT).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    scores, entries = model.attn.form(q, k), masks_of(model)["attn"]((SIDE, SIDE)).to(x.dtype)
    weights = {
        "multiply_logits": (scores * entries).softmax(dim=-1),
        "bias_logits": (scores + entries.log()).softmax(dim=-1),
        "multiply_weights": scores.softmax(dim=-1) * entries,
    }
    expected = (weights[placement] @ v).transpose(1, 2).flatten(2)
    assert_close(model(x), expected)
    model.attn.qkv.merged = not merged
    assert_close(model(x), expected)
    model.attn.qkv.register_forward_hook(lambda module, args, out: (out @ out.mT, out)[1])
    assert_close(model(x), expected)


class Nested(ByHand):
    """Attention of its own, and a module inside that attends to as many other tokens."""

    def __init__(self, fused: bool) -> None:
        super().__init__(FORMS["scaled queries"])
        self.fused, self.cross = fused, nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True)
        self.context = nn.Parameter(torch.randn(1, SIDE**2, CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v) if self.fused else self.form(q, k).softmax(dim=-1) @ v
        context = self.context.expand(len(x), -1, -1)
        return self.cross(out.transpose(1, 2).flatten(2), context, context, need_weights=False)[0]


@pytest.mark.parametrize("fused", [False, True])
def test_attention_around_a_module_that_attends_stays_plain_and_is_named(fused: bool) -> None:
    """Its mask would act on both."""
    model = Model(Nested(fused)).double().eval()
    with pytest.warns(UserWarning, match="1 stay plain, as 'attn': a module inside it attends too"):
        add_masks(model, "manhattan")
    assert set(masks_of(model)) == {"attn.cross"}
    with pytest.raises(ValueError, match=r"no attention matches where='attn': there are attn\.cross"):
        add_masks(Model(Nested(fused)).double().eval(), "manhattan", where="attn")


@pytest.mark.parametrize("compiled", ["", "attn"])
def test_parts_that_were_compiled_before_are_masked_once(compiled: str) -> None:
    torch.manual_seed(0)
    plain, x = Model(ByHand(FORMS["scaled queries"])).double().eval(), normal(1, 2, 3, SIDE, SIDE)
    state = plain.state_dict()
    expected = add_masks(plain, "manhattan", gamma=0.5)(x)
    model = Model(ByHand(FORMS["scaled queries"])).double().eval()
    model.load_state_dict({name: value for name, value in state.items() if "mask" not in name})
    model.get_submodule(compiled).compile(backend="eager")
    add_masks(model, "manhattan", gamma=0.5)
    assert set(masks_of(model)) == {"attn"}
    assert_close(model(x), expected)
