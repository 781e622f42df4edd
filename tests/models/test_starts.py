"""No mask starts where its placement leaves it for ever: it learns from the first step on, or is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from retconv.attention import PLACEMENTS, bias_logits
from retconv.grid import Grid
from retconv.masks import ElementwiseMask, KernelTableMask, Mask
from retconv.models import MASKS, add_masks, masks_of
from retconv.sweep import STUDIES, load_study
from retconv.train import RECIPES, load
from tests.strategies import normal

#: Every way in which a mask of the package can be told to start and to learn.
STARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gmm, positive": ("gmm", {"positive": True}),
    "gmm, positive and local": ("gmm", {"positive": True, "start": "local"}),
    "elm": ("elm", {}),
    "elm of ones": ("elm", {"start": "ones"}),
    "elm, per head": ("elm", {"per_head": True}),
    "elm of ones, per head": ("elm", {"per_head": True, "start": "ones"}),
    "table": ("table", {}),
    "table of zeros": ("table", {"start": "zeros"}),
    "manhattan": ("manhattan", {"learnable": True}),
    "euclidean": ("euclidean", {"learnable": True}),
    "two_sided": ("two_sided", {"learnable": True}),
    "retnet": ("retnet", {"learnable": True}),
    "alibi": ("alibi", {"learnable": True}),
    "kerple_log": ("kerple_log", {}),
    "kerple_power": ("kerple_power", {}),
    "gpsa": ("gpsa", {}),
    "swin_table": ("swin_table", {}),
}
DEAD = {"elm", "elm, per head", "table of zeros"}


def vit() -> nn.Module:
    """One layer that reads off the mean of its tokens, away from a constant function."""
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 3}
    model = timm.create_model("vit_tiny_patch16_224", global_pool="avg", class_token=False, **options)
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def gradient_of_each_head(mask: Mask, model: nn.Module) -> list[float]:
    """The largest gradient of a mask's numbers, head by head, or of all heads where they share them."""
    model(normal(0, 4, 3, 32, 32, dtype=torch.float32)).square().sum().backward()
    found = [p.grad.flatten(1) if p.ndim > 1 else p.grad[:, None] for p in mask.parameters() if p.grad is not None]
    return torch.cat(found, dim=1).abs().amax(dim=1).tolist()


@pytest.mark.parametrize(("start", "placement"), list(itertools.product(STARTS, PLACEMENTS)))
def test_a_mask_learns_from_its_first_step_or_is_refused(start: str, placement: str) -> None:
    """In every head; what is refused has no gradient at all, and hides every key."""
    name, options = STARTS[start]
    if placement == "bias_logits" and start in DEAD:
        with pytest.raises(ValueError, match=r"gradient is exactly 0 for ever\. Start it at 1 \(start='ones'\)"):
            add_masks(vit(), name, placement=placement, **options)
        return
    model = add_masks(vit(), name, placement=placement, **options)
    (mask,) = masks_of(model).values()
    assert min(gradient_of_each_head(mask, model)) > 0


def test_every_mask_that_learns_is_told_how_it_starts() -> None:
    """A new name needs a line above."""
    learnt = {name for name, make in MASKS.items() if list(make(Grid((2, 2)), 2).parameters())}
    assert learnt <= {name for name, _ in STARTS.values()}


@pytest.mark.parametrize("placement", ["bias_logits", "multiply_logits"])
def test_a_head_of_zeros_among_others_is_refused(placement: str) -> None:
    """A mask that is given, not named: one head hides every key, and would for ever."""
    mask = KernelTableMask((4, 4), 2)
    mask.weight.data[1] = 0
    if placement == "bias_logits":
        with pytest.raises(ValueError, match="KernelTableMask is 0 everywhere in head 1"):
            add_masks(vit(), mask, placement=placement)
    else:
        assert add_masks(vit(), mask, placement=placement) is not None


def test_some_zeros_may_hide_some_keys() -> None:
    """Zeros in a table are pairs that are hidden, as in a window; the others learn."""
    mask = KernelTableMask((4, 4), 2)
    mask.weight.data[:, 0] = 0
    model = add_masks(vit(), mask, placement="bias_logits")
    assert min(gradient_of_each_head(next(iter(masks_of(model).values())), model)) > 0


@pytest.mark.parametrize("name", ["off_diagonal", "manhattan"])
def test_masks_that_learn_nothing_are_taken_as_they_are(name: str) -> None:
    assert masks_of(add_masks(vit(), name, placement="bias_logits"))


def test_why_it_is_refused() -> None:
    """By hand: at 0 the logarithm's placement gives every row 0, and the mask a gradient of exactly 0."""
    mask = ElementwiseMask(3, 1)
    q, k, v = (normal(i, 1, 1, 3, 2, dtype=torch.float32) for i in range(3))
    out: Tensor = bias_logits(q, k, v, mask, 3, backend="sdpa")
    out.sum().backward()
    assert mask.weight.grad is not None
    assert not bool(out.any())
    assert not bool(mask.weight.grad.any())


def test_no_recipe_and_no_study_asks_for_it() -> None:
    """Nor does any stored run: its hash is that of its recipe."""
    plans = [load(name) for name in RECIPES] + [plan for name in STUDIES for plan in load_study(name).configs]
    biased = [plan.model.options for plan in plans if plan.model.options.get("placement") == "bias_logits"]
    assert biased
    for mask, options in {(o["mask"], tuple(o.get("mask_options", {}).items())) for o in biased}:
        assert bool(MASKS[mask](Grid((2, 2)), 2, **dict(options))((2, 2)).flatten(1).any(dim=1).all())
