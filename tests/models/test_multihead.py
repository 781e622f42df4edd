"""``torch.nn.MultiheadAttention`` with a mask: what torch computes around it stays."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from retconv.masks import KernelTableMask, OffDiagonalMask
from retconv.models import UnsupportedModelError, add_masks, masks_of
from retconv.models.count import count
from retconv.models.surgery import masked_modules
from tests.compare import assert_close
from tests.strategies import normal

SIDE, CHANNELS, HEADS = 3, 8, 2
TOKENS = SIDE**2


class Model(nn.Module):
    """Patches of one pixel and torch's attention, or its whole encoder layer."""

    def __init__(self, layer: nn.Module, **arguments: Any) -> None:
        super().__init__()
        self.img_size = (SIDE, SIDE)
        self.embed, self.layer, self.arguments = nn.Conv2d(3, CHANNELS, 1), layer, arguments

    def forward(self, x: Tensor) -> Any:
        tokens = self.embed(x).flatten(2).mT
        if isinstance(self.layer, nn.TransformerEncoderLayer):
            return self.layer(tokens)
        tokens = tokens if self.layer.batch_first else tokens.transpose(0, 1)
        return self.layer(tokens, tokens, tokens, **self.arguments)


def model(batch_first: bool = True, options: Any = None, **arguments: Any) -> Model:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=batch_first, **(options or {}))
    return Model(attention, **arguments).double().eval()


HIDDEN = torch.ones(TOKENS, TOKENS).triu(3).bool()
PADDED = torch.tensor([[False] * TOKENS, [False] * (TOKENS - 2) + [True] * 2])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, {"need_weights": False}),
        ({}, {}),
        ({"bias": False}, {"average_attn_weights": False}),
        ({"kdim": CHANNELS, "vdim": CHANNELS}, {}),
        ({}, {"attn_mask": HIDDEN}),
        ({}, {"attn_mask": normal(4, 2 * HEADS, TOKENS, TOKENS)}),
        ({}, {"key_padding_mask": PADDED}),
        ({}, {"key_padding_mask": PADDED, "attn_mask": HIDDEN, "need_weights": False}),
    ],
)
def test_a_neutral_mask_changes_nothing(batch_first: bool, options: Any, arguments: Any) -> None:
    x = normal(1, 2, 3, SIDE, SIDE)
    plain = model(batch_first, options)
    one = add_masks(model(batch_first, options), lambda grid, heads: KernelTableMask(grid, 1))
    plain.arguments = one.arguments = arguments
    for got, expected in itertools.zip_longest(one(x), plain(x)):
        assert (got is None) == (expected is None)
        if got is not None:
            assert_close(got, expected)


class ByName(nn.MultiheadAttention):
    """Calls torch's function itself, with every argument by its name, as CLIP's code does; masks are still bool."""

    def forward(self, *tokens: Tensor, **masks: Any) -> Any:  # type: ignore[override]
        given = dict(zip(("query", "key", "value"), (x.transpose(0, 1) for x in tokens), strict=True))
        given |= {f"in_proj_{name}": getattr(self, f"in_proj_{name}") for name in ("weight", "bias")}
        given |= {f"out_proj_{name}": getattr(self.out_proj, name) for name in ("weight", "bias")}
        given |= {"embed_dim_to_check": CHANNELS, "num_heads": HEADS, "dropout_p": 0.0, "training": False}
        appended: Any = {"bias_k": None, "bias_v": None, "add_zero_attn": False}
        out, weights = F.multi_head_attention_forward(**given, **appended, **masks)
        return out.transpose(0, 1), weights


@pytest.mark.parametrize("arguments", [{}, {"key_padding_mask": PADDED, "attn_mask": HIDDEN}])
def test_a_call_by_name_is_the_same_call(arguments: Any) -> None:
    mask = KernelTableMask.from_kernel(normal(3, HEADS, 2 * SIDE - 1, 2 * SIDE - 1))
    one, x = add_masks(model(), mask), normal(1, 2, 3, SIDE, SIDE)
    plain = Model(ByName(CHANNELS, HEADS, batch_first=True)).double().eval()
    plain.load_state_dict({name: v for name, v in one.state_dict().items() if ".mask." not in name})
    other = add_masks(plain, mask)
    one.arguments = other.arguments = arguments
    for got, expected in zip(other(x), one(x), strict=True):
        assert_close(got, expected)


def test_the_mask_acts_on_the_scores() -> None:
    kernel = normal(3, HEADS, 2 * SIDE - 1, 2 * SIDE - 1)
    one = add_masks(model(average_attn_weights=False), KernelTableMask.from_kernel(kernel))
    x = normal(1, 2, 3, SIDE, SIDE)
    attention: Any = one.layer
    tokens = one.embed(x).flatten(2).mT
    q, k, v = attention.in_proj_weight.chunk(3)
    heads = [
        nn.functional.linear(tokens, w, b).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for w, b in zip((q, k, v), attention.in_proj_bias.chunk(3), strict=True)
    ]
    entries = next(iter(masks_of(one).values()))((SIDE, SIDE))
    weights = (heads[0] @ heads[1].mT * (CHANNELS // HEADS) ** -0.5 * entries).softmax(dim=-1)
    out, seen = one(x)
    assert_close(seen, weights)
    assert_close(out, attention.out_proj((weights @ heads[2]).transpose(1, 2).flatten(2)))


def test_without_a_batch() -> None:
    one = add_masks(model(), lambda grid, heads: KernelTableMask(grid, 1))
    x = normal(2, TOKENS, CHANNELS)
    for got, expected in zip(one.layer(x, x, x), model().layer(x, x, x), strict=True):
        assert_close(got, expected)


def test_the_fast_path_of_torchs_encoder_layer_does_not_pass_the_mask_by() -> None:
    """In evaluation without gradients torch's layer would compute attention from its weights, calling no module."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(CHANNELS, HEADS, 16, batch_first=True)
    plain = Model(layer).double().eval()
    x = normal(1, 2, 3, SIDE, SIDE)
    with torch.no_grad():
        before = plain(x)
        one = add_masks(plain, lambda grid, heads: OffDiagonalMask(heads), placement="bias_logits")
        (_, module), *_ = masked_modules(one)
        assert float((one(x) - before).abs().max()) > 1e-3
        seen: list[Tensor] = []
        module.observer = seen.append
        one(x)
    assert float(seen[0].diagonal(dim1=-2, dim2=-1).abs().max()) < 1e-12


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_appended_keys_are_refused(options: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"its 9 queries and 10 keys are not the same tokens"):
        add_masks(model(options=options), "gmm")


def test_its_layers_are_counted_as_layers() -> None:
    """They are no modules that run; and whether a model is frozen, which takes torch's fast path, changes nothing."""
    n, d, layers = 17, 16, 2
    vit = VisionTransformer(32, 8, layers, num_heads=2, hidden_dim=d, mlp_dim=2 * d, num_classes=3)
    linear = n * (4 * d * d + 2 * d * 2 * d) + n * (4 * d + 3 * d)
    ends = (n - 1) * (3 * 8 * 8 + 1) * d + 3 * (d + 1)
    for model in (vit, vit.requires_grad_(False), add_masks(vit, "gmm")):
        cost = count(model)
        assert (cost.layer_macs, cost.attention_macs) == (layers * linear + ends, layers * 2 * n * n * d)
