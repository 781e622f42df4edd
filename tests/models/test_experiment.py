"""Attention that modules write by hand, in every form known: found by experiment, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from retconv.masks import KernelTableMask
from retconv.models import UnsupportedModelError, add_masks, masks_of
from retconv.models.layout import Layout
from retconv.models.surgery import masked_modules
from tests.compare import assert_close, assert_exact
from tests.models.by_hand import BIAS, CHANNELS, FORMS, HEADS, MIX, SIDE, TOKENS, ByHand, Form, Model, model
from tests.strategies import normal

multiplied = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def masked(form: Form, placement: str = "multiply_logits", seed: int = 3) -> tuple[Model, KernelTableMask]:
    kernel = normal(seed, HEADS, 2 * SIDE - 1, 2 * SIDE - 1).exp()
    mask = KernelTableMask.from_kernel(kernel)
    one = add_masks(model(form), mask, placement=placement)
    return one, next(iter(masks_of(one).values()))


@multiplied
def test_a_neutral_mask_leaves_the_bits(form: Form) -> None:
    x, plain = normal(1, 2, 3, SIDE, SIDE), model(form)
    expected = plain(x)
    assert_exact(add_masks(plain, lambda grid, heads: KernelTableMask(grid, 1))(x), expected)


@multiplied
def test_the_mask_multiplies_the_scores_and_not_what_is_added_to_them(form: Form) -> None:
    """M ⊙ (q·k) in place of q·k, whatever is done to it after: the bias stays as it is."""
    one, mask = masked(form)
    entries = mask((SIDE, SIDE))
    plain, x = model(lambda q, k: form(q, k, lambda scores: scores * entries)), normal(1, 2, 3, SIDE, SIDE)
    assert_close(one(x), plain(x))
    plain = model(form)
    assert float((one(x) - plain(x)).detach().abs().max()) > 1e-4
    one(x).square().sum().backward()
    assert float(mask.weight.grad.abs().max()) > 0


SOFTMAXES: dict[str, Callable[[Tensor], Tensor]] = {
    "by name": lambda x: nn.functional.softmax(input=x, dim=-1),
    "in another dtype": lambda x: torch.softmax(x, -1, torch.float64),
}


@pytest.mark.parametrize("softmax", SOFTMAXES.values(), ids=SOFTMAXES)
@pytest.mark.parametrize("placement", ["multiply_logits", "bias_logits"])
def test_a_softmax_is_the_same_however_it_is_called(softmax: Callable[[Tensor], Tensor], placement: str) -> None:
    class Attention(ByHand):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
            self.weights = softmax(self.form(q, k))
            return (self.weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)

    torch.manual_seed(0)
    other = Model(Attention(FORMS["scaled queries"])).eval()
    mask = KernelTableMask.from_kernel(normal(3, HEADS, 2 * SIDE - 1, 2 * SIDE - 1).exp())
    one, _ = masked(FORMS["scaled queries"], placement)
    x = normal(1, 2, 3, SIDE, SIDE)
    out = add_masks(other, mask, placement=placement)(x.float())
    assert_close(out, one(x).float())
    assert other.attn.weights.dtype == softmax(x.float()).dtype


@multiplied
@pytest.mark.parametrize("placement", ["bias_logits", "multiply_weights", "convolution"])
def test_other_placements_act_at_the_softmax(form: Form, placement: str) -> None:
    one, mask = masked(form, placement)
    entries, x, seen = mask((SIDE, SIDE)), normal(1, 2, 3, SIDE, SIDE), []
    (_, module), *_ = masked_modules(one)
    module.observer = seen.append
    one(x)
    q, k, _ = one.attn.qkv(one.embed(x).flatten(2).mT).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    logits = form(q, k).reshape(2, HEADS, TOKENS, TOKENS)
    expected = {
        "bias_logits": (logits + entries.log()).softmax(dim=-1),
        "multiply_weights": logits.softmax(dim=-1) * entries,
        "convolution": entries.expand_as(logits),
    }
    assert_close(seen[0], expected[placement])


def test_mixed_heads_take_the_mask_behind_the_mixing_or_before_a_bias() -> None:
    """Talking heads: the mask acts on mixed scores. With a bias that tells pairs apart, on the product before."""
    for added, products in ((0, ()), (BIAS, (0,))):
        for mix in (
            lambda s: torch.einsum("hg,bgij->bhij", MIX, s),
            lambda s: (s.movedim(1, -1) @ MIX.T).movedim(-1, 1),
        ):
            one, _ = masked(lambda q, k, added=added, mix=mix: mix(q @ k.mT + added))
            (_, module), *_ = masked_modules(one)
            assert module.place.products == products


@pytest.mark.parametrize(
    "form",
    [
        lambda q, k: torch.tanh(q @ k.mT),
        lambda q, k: (q @ k.mT) ** 2,
        lambda q, k: q @ k.mT + q @ q.mT,
        lambda q, k: (q[..., None, :] - k[..., None, :, :]).square().sum(-1),
    ],
    ids=["capped", "squared", "two products", "distances"],
)
def test_what_is_no_scaled_product_is_refused(form: Form) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"'attn': it forms its own softmax, of what is not one matrix prod"
    ):
        add_masks(model(form), "gmm")


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout(2), (3, 2, 4, 5)),
        (Layout(2, None), (6, 4, 5)),
        (Layout(2, -4), (3, 2, 7, 4, 5)),
        (Layout(2, -3), (3, 7, 2, 4, 5)),
    ],
)
def test_layouts_fold_and_unfold(layout: Layout, shape: tuple[int, ...]) -> None:
    x = normal(0, *shape)
    folded = layout.fold(x)
    assert folded.shape[1:] == (2, 4, 5)
    assert_exact(layout.unfold(folded, shape), x)
    if layout.axis == -4:
        assert_exact(folded[8], x[1, :, 1])


class Heads(nn.Module):
    """Two heads in windows of 2×2, and which of heads and windows come first; a forward is a subclass's."""

    def __init__(self, heads_first: bool) -> None:
        super().__init__()
        self.num_heads, self.window_size, self.heads_first = 2, (2, 2), heads_first
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)


class InWindows(nn.Module):
    """Attention on windows side by side, ``(images, windows, tokens, channels)``, or all windows in one axis."""

    def __init__(self, attn: nn.Module, windows: int, flat: bool) -> None:
        super().__init__()
        self.img_size, self.windows, self.flat = (2, 2 * windows), windows, flat
        self.embed, self.attn = nn.Conv2d(3, CHANNELS, 1), attn

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).unflatten(-1, (self.windows, 2)).permute(0, 3, 2, 4, 1).flatten(2, 3)
        return self.attn(x.flatten(0, 1) if self.flat else x)


def test_windows_between_heads_and_tokens_are_told_apart_by_what_one_window_reaches() -> None:
    """As many windows as heads: which axis is which is seen by changing one window's input."""

    class Windows(Heads):
        def forward(self, x: Tensor) -> Tensor:
            order = (3, 0, 4, 1, 2, 5) if self.heads_first else (3, 0, 1, 4, 2, 5)
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(*order)
            out = (q @ k.mT).softmax(dim=-1) @ v
            return out.movedim(1, -2).flatten(-2) if self.heads_first else out.movedim(2, -2).flatten(-2)

    for heads_first, axis in ((True, -4), (False, -3)):
        torch.manual_seed(0)
        plain = InWindows(Windows(heads_first), 2, flat=False).double()
        x = normal(1, 2, 3, 2, 4)
        expected = plain(x)
        one = add_masks(plain, "table")
        (_, module), *_ = masked_modules(one)
        assert module.place.layout == Layout(2, axis)
        assert_close(one(x), expected)


@pytest.mark.parametrize("fold", ["bmm", "four axes"])
def test_heads_in_front_of_windows_are_refused(fold: str) -> None:
    """``(heads · windows, tokens, channels)``: each head's mask would act in another window's head."""

    class Windows(Heads):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 3, 0, 1, 4)  # (heads, windows, tokens, channels)
            if not self.heads_first:
                q, k, v = (t.transpose(0, 1) for t in (q, k, v))
            if fold == "bmm":
                out = (q.flatten(0, 1) @ k.flatten(0, 1).mT).softmax(dim=-1) @ v.flatten(0, 1)
                out = out.unflatten(0, q.shape[:2])
            else:
                out = (q @ k.mT).softmax(dim=-1) @ v
            return (out.permute(1, 2, 0, 3) if self.heads_first else out.transpose(1, 2)).flatten(-2)

    torch.manual_seed(0)
    with pytest.raises(UnsupportedModelError, match="its heads stand in front of images or windows"):
        add_masks(InWindows(Windows(heads_first=True), 3, flat=True).double(), "table")
    plain, x = InWindows(Windows(heads_first=False), 3, flat=True).double(), normal(1, 2, 3, 2, 6)
    expected = plain(x)
    assert_close(add_masks(plain, "table")(x), expected)
