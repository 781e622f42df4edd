"""The experiments on masks: right ones pass, planted faults do not, and what cannot be told is said to be so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.grid import Grid
from retconv.models import add_masks, check_masks, masks_of
from retconv.models.checking.position import SMALL, box_of, movement, spots
from retconv.models.checking.report import QUESTIONS, MaskReport, Outcome
from retconv.models.checking.subject import (
    WHISPER,
    Subject,
    give_voice,
    leaves,
    one_token,
    random_tables,
    subject_of,
    whispering,
)
from retconv.models.places import Fixed
from tests.compare import assert_close, assert_exact
from tests.models.cases import FAMILIES, images, plain, pvt
from tests.models.checking import naive_checking
from tests.models.checking.faults import FAULTS, small
from tests.strategies import SHAPES, normal

#: CaiT's talking heads have a bias on their weights, which reaches every token past any mask.
BIASED = {"CaiT"}
PASSED = dict.fromkeys(QUESTIONS, "passed")


@pytest.mark.parametrize("family", FAMILIES)
def test_right_masks_pass_every_experiment(family: str) -> None:
    report = check_masks(plain(family))
    assert report.verdicts == PASSED | ({"one token": "inconclusive"} if family in BIASED else {}), str(report)
    assert report.ok
    assert report.modules == FAMILIES[family][2]


def test_one_mask_of_a_pyramid_is_checked_where_keys_are_not_pooled() -> None:
    """Its first owner is a place that is left out; the model keeps it."""
    model, x = pvt().float(), torch.zeros(1, 3, 64, 64)
    add_masks(model, "gmm", pooled=True, share="model", example=x)
    report = check_masks(model, normal(0, 1, 3, 64, 64).float())
    assert (report.ok, report.modules) == (True, 4), str(report)
    assert len({id(mask) for mask in masks_of(model).values()}) == 1


@pytest.mark.parametrize("window", [0, 4])
def test_the_models_of_the_faults_pass_without_them(window: int) -> None:
    report = check_masks(small(window))
    assert report.verdicts == PASSED, str(report)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_fail(fault: str) -> None:
    make, check = FAULTS[fault]
    report = check_masks(make())
    assert report.verdicts[check] == "failed", str(report)
    assert not report.ok
    assert check in {outcome.check for outcome in report.failures}


def test_what_is_wrong_with_the_order_is_named() -> None:
    texts = {fault: str(check_masks(make())) for fault, (make, _) in FAULTS.items() if "tokens" in fault}
    assert "the tokens are transposed" in texts["transposed tokens"]
    assert "the tokens are mirrored" in texts["mirrored tokens"]
    assert "the tokens are in unrolled order" in texts["unrolled tokens"]
    assert "patches move another token" in texts["shuffled tokens"]


def test_the_model_is_not_touched() -> None:
    """Neither its numbers nor its masks, its mode or its hooks."""
    model, x = add_masks(plain("PiT"), "gmm").train(), images("PiT")
    before, masks = copy.deepcopy(model.state_dict()), masks_of(model)
    check_masks(model)
    assert model.training
    assert masks_of(model) == masks
    for name, value in model.state_dict().items():
        assert_exact(value, before[name])
    bare = plain("PiT")
    expected = bare(x)
    check_masks(bare)
    assert_exact(bare(x), expected)
    assert not masks_of(bare)


def test_only_some_attention_is_asked_where_only_some_is_masked() -> None:
    assert check_masks(plain("ViT"), where="blocks.1.*").modules == 1


class Coupled(nn.Module):
    """Its images see one another, with masks or without."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain("ViT")
        self.img_size = 32

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + x.mean()


class Patches(nn.Module):
    """It takes pixels of patches, which are no image."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small().requires_grad_(True)

    def forward(self, pixels: Tensor, size: Tensor) -> Tensor:
        assert size.shape == (pixels.shape[0], 2)
        return self.inner(F.fold(pixels.mT, (32, 32), 4, stride=4))


class Silent(nn.Module):
    """What its attention says reaches no output."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small()
        self.img_size = 32

    def forward(self, x: Tensor) -> Tensor:
        self.inner(x)
        return self.inner.embed(x).mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("make", "example", "check", "text"),
    [
        (Coupled, None, "batch", "the plain model's images see one another too"),
        (
            Patches,
            {"pixels": normal(0, 1, 64, 48), "size": torch.tensor([[8, 8]])},
            "position",
            r"an input \(1, 64, 48\) is no image or video",
        ),
        (Silent, None, "gradient", "its own output reaches no output of the model"),
    ],
)
def test_what_cannot_be_told_is_inconclusive(
    make: Callable[[], nn.Module], example: Any, check: str, text: str
) -> None:
    report = check_masks(make(), example)
    assert report.ok, str(report)
    assert report.verdicts[check] == "inconclusive"
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(str(report))


def test_a_class_token_that_alone_leaves_the_last_layer_is_no_fault() -> None:
    report = check_masks(plain("ViT"))
    texts = {outcome.module: outcome.detail for outcome in report.outcomes if outcome.check == "gradient"}
    none = "this mask has no effect: only prefix tokens leave the layer, whose rows are neutral"
    assert texts["blocks.1.attn"] == none
    assert f"gradient of 'blocks.1.attn': passed ({none})" in str(report)
    assert texts["blocks.0.attn"].startswith("up to ")


def test_layer_scales_and_norms_that_start_at_nothing_are_given_a_voice() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    model[1].weight.data.fill_(1e-6)
    model[1].bias.data.zero_()
    linear = model[0].weight.clone()
    give_voice(model)
    assert float(model[1].weight.abs().max()) > 1e-2
    assert_exact(model[1].bias, torch.zeros(3))
    assert_exact(model[0].weight, linear)


# --- what they are made of ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 2, 1, 7), (2, 2, 6, 3), (3, 2, 5, 5), (2, 1, 4, 24)])
def test_movement_against_loops(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    before, after = normal(1, *sizes, dtype=dtype), normal(2, *sizes, dtype=dtype)
    expected = torch.tensor(naive_checking.movement(before.tolist(), after.tolist()), dtype=torch.float64)
    assert_close(movement(before, after), expected.to(dtype))


def test_only_the_query_that_moved_has_movement() -> None:
    """A query and key of one token move: all other rows change in one number, and by their denominators."""
    q, k = normal(3, 2, 9, 4), normal(4, 2, 9, 4)
    before = (q @ k.mT).log_softmax(dim=-1)[None]
    q[:, 5], k[:, 5] = normal(5, 2, 4), normal(6, 2, 4)
    size = movement(before, (q @ k.mT).log_softmax(dim=-1)[None])[0]
    assert float(size[5]) > 1e-3
    assert float(size[torch.arange(9) != 5].max()) < 1e-24


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_of_one_token_against_loops(shape: tuple[int, ...]) -> None:
    grid = Grid(shape)
    assert_exact(one_token(grid, 2)(grid)[0], torch.tensor(naive_checking.diagonal_mask(grid.size, 0.0)))
    assert_exact(whispering(grid, 2)(grid)[0], torch.tensor(naive_checking.diagonal_mask(grid.size, WHISPER)))
    first, second = random_tables(grid, 2)(grid)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 5), (2, 3, 4), (7, 7), (14, 9)])
def test_boxes_lie_in_their_tokens_and_no_symmetry_maps_spots_on_spots(shape: tuple[int, ...]) -> None:
    sides = tuple(16 * n for n in shape)
    for token in spots(shape):
        assert naive_checking.covers(box_of(token, shape, sides), token, shape, sides)
    if len(shape) == 2 and shape[0] * shape[1] > SMALL and min(shape) > 4:
        rows, columns = shape
        chosen = spots(shape)
        mirrored = [(y, columns - 1 - x) for y, x in chosen]
        upright = [(rows - 1 - y, x) for y, x in chosen]
        assert not set(chosen) & set(mirrored)
        assert not set(chosen) & set(upright)


def test_convolutions_pass_only_their_middle_against_loops_and_then_all_again() -> None:
    model = small()
    model.second = nn.Conv2d(3, 2, (3, 5), padding=(1, 2), bias=False)
    subject = Subject(model, model, normal(7, 1, 3, 6, 8))
    x, weight = subject.image.float(), model.second.weight.clone()
    with subject.pointwise():
        out = model.second(x)[0]
        assert_exact(model.embed.weight, model.embed.weight)
    expected = torch.tensor(naive_checking.centre_only(x[0].tolist(), weight.tolist()))
    assert_close(out, expected)
    assert_exact(model.second.weight, weight)


def test_masks_are_put_back_after_an_experiment_even_a_failing_one() -> None:
    subject = subject_of(small(), None, {})
    before = masks_of(subject.masked)
    with subject.given(one_token, "bias_logits"):
        assert masks_of(subject.masked) != before
    assert masks_of(subject.masked) == before
    with pytest.raises(ValueError, match="sees"), subject.given(one_token, "bias_logits"):
        subject.masked.first(torch.zeros(1, 3, 8))
    assert masks_of(subject.masked) == before
    assert all(module.observer is None for module in subject.modules.values())


def test_outputs_of_any_kind_are_read() -> None:
    a, b = torch.zeros(2), torch.ones(3, dtype=torch.long)
    assert [leaf.shape for leaf in leaves({"x": (a, [b, a]), "n": 3, "none": None})] == [a.shape, a.shape]


def test_a_report_says_what_failed_and_where() -> None:
    outcomes = (
        Outcome("neutral", "passed", "outputs differ by 0"),
        Outcome("position", "passed", "5 patches", "a"),
        Outcome("position", "failed", "one is wrong", "b"),
        Outcome("gradient", "inconclusive", "unread", "a"),
    )
    report = MaskReport("ViT", 2, outcomes)
    assert report.verdicts == {
        "neutral": "passed",
        "one token": "inconclusive",
        "position": "failed",
        "gradient": "inconclusive",
        "batch": "inconclusive",
    }
    assert not report.ok
    assert report.failures == outcomes[2:3]
    assert "position of 'b': failed (one is wrong)" in str(report)
    assert "of 'a': passed" not in str(report)


def test_a_place_with_a_wrong_number_of_tokens_is_the_placement_s_own_error() -> None:
    model = small()
    model.first.place.source = Fixed((3, 3))
    with pytest.raises(ValueError, match="attention 'first' sees 64 tokens"):
        check_masks(model)
