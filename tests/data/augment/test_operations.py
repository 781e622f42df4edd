"""Every operation on a batch against torchvision v2 on each sample alone: same image, same magnitude."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import TrivialAugmentWide
from torchvision.transforms.v2 import functional as F

from retconv.data.augment import OPERATIONS, apply, crop_and_flip, erase
from retconv.data.augment.operations import NAMES
from retconv.data.augment.policies import _table
from tests.data.augment.cases import BLACK, PINK, oracle, pictures

#: Sides (H, W): those of the data sets, one that is odd and oblong, and two that are too small to be smoothed.
SIZES = ((32, 32), (64, 64), (28, 28), (8, 8), (5, 9), (2, 7), (1, 1))
#: Operations that blend by products and sums in float32, which torchvision rounds once or twice: as the processor does.
BLENDED = {"Color", "Contrast", "Sharpness"}
MOVED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def magnitudes_of(name: str, height: int, width: int) -> Tensor:
    """Every magnitude that a policy may draw, of either sign where it has one."""
    tables = [
        _table(wide, bins, height, width)[NAMES.index(name)] for wide, bins in ((True, 31), (False, 31), (False, 10))
    ]
    values = torch.cat(tables).unique()
    signed = name not in ("Posterize", "Solarize")
    return torch.cat([values, -values]).unique() if signed else values


def off(result: Tensor, image: Tensor, name: str, magnitude: float, fill: Tensor = BLACK) -> Tensor:
    """By how many levels a sample differs from torchvision's.

    Where a place lies exactly between two pixels, torchvision's product of matrices falls to either, as the processor
    rounds it: there its picture of a hair more or less is right as well.
    """
    hairs = (1 - 1e-5, 1, 1 + 1e-5) if name in MOVED else (1,)
    every = torch.stack([oracle(image, name, magnitude * hair, fill) for hair in hairs])
    return (result.int() - every.int()).abs().amin(dim=0)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_operation_is_that_of_torchvision(name: str, size: tuple[int, int]) -> None:
    """At every magnitude of every policy, exactly, or within one level where torchvision depends on the processor."""
    magnitudes = magnitudes_of(name, *size)
    images = pictures(len(name), len(magnitudes), *size)
    result = OPERATIONS[name](images, magnitudes, BLACK)
    assert result.dtype == torch.uint8
    difference = torch.stack([off(r, i, name, float(m)) for r, i, m in zip(result, images, magnitudes, strict=True)])
    assert int(difference.max()) <= (1 if name in BLENDED else 0)
    assert float((difference > 0).float().mean()) <= 0.01


@pytest.mark.parametrize("name", MOVED)
def test_what_comes_in_from_outside_has_the_fill_colour(name: str) -> None:
    magnitudes = magnitudes_of(name, 9, 12)
    images = pictures(0, len(magnitudes), 9, 12)
    result = OPERATIONS[name](images, magnitudes, PINK)
    assert not any(off(r, i, name, float(m), PINK).any() for r, i, m in zip(result, images, magnitudes, strict=True))


@given(seed=st.integers(0, 2**32 - 1), slope=st.floats(-1, 1), degrees=st.floats(-180, 180))
def test_geometry_at_any_magnitude(seed: int, slope: float, degrees: float) -> None:
    """Not only where policies go."""
    images = pictures(seed, 1, 7, 10)
    for name, value in (("ShearX", slope), ("ShearY", slope), ("Rotate", degrees)):
        result = OPERATIONS[name](images, torch.tensor([value], dtype=torch.float64), BLACK)
        assert not off(result[0], images[0], name, value).any(), name


def test_signs_of_geometry() -> None:
    """A bright pixel goes right, down, and, turned by 90°, counter-clockwise."""
    image = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    image[:, :, 1, 2] = 200
    for name, magnitude, where in (("TranslateX", 1.9, (1, 3)), ("TranslateY", 2.0, (3, 2)), ("Rotate", 90.0, (2, 1))):
        result = OPERATIONS[name](image, torch.tensor([magnitude], dtype=torch.float64), BLACK)
        assert result[0, 0].nonzero().tolist() == [list(where)], name


@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(0, 3), count=st.integers(1, 20))
def test_chains_are_applied_link_by_link(seed: int, depth: int, count: int) -> None:
    """Every sample goes through its own operations in its own order, whatever its companions do."""
    generator = torch.Generator().manual_seed(seed)
    images = pictures(seed, count, 6, 8)
    operations = torch.randint(len(NAMES), (count, depth), generator=generator)
    magnitudes = _table(True, 31, 6, 8)[operations, 17]
    before = images.clone()
    result = apply(images, operations, magnitudes, PINK)
    assert torch.equal(images, before)
    for b in range(count):
        alone = images[b : b + 1]
        for operation, magnitude in zip(operations[b].tolist(), magnitudes[b], strict=True):
            alone = OPERATIONS[NAMES[operation]](alone, magnitude[None], PINK)
        assert torch.equal(result[b], alone[0])


crops = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 4), st.sampled_from([(8, 8), (5, 9)]))


@given(crops)
def test_crop_and_flip_are_those_of_torchvision(drawn: tuple[int, int, tuple[int, int]]) -> None:
    seed, padding, (h, w) = drawn
    generator = torch.Generator().manual_seed(seed)
    images = pictures(seed, 6, h, w)
    top, left = torch.randint(2 * padding + 1, (2, 6), generator=generator)
    flip = torch.arange(6) % 2 == 0
    result = crop_and_flip(images, top, left, flip, padding, PINK)
    for b in range(6):
        bordered = F.pad(images[b], [padding], fill=PINK.tolist())
        cut = F.crop(bordered, int(top[b]), int(left[b]), h, w)
        assert torch.equal(result[b], F.horizontal_flip(cut) if flip[b] else cut)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_erasing_is_that_of_torchvision(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(5, 3, 7, 10, generator=generator)
    boxes = torch.stack([torch.randint(0, top, (5,), generator=generator) for top in (7, 10, 6, 9)], dim=1)
    result = erase(images, boxes)
    for b, (i, j, h, w) in enumerate(boxes.tolist()):
        assert torch.equal(result[b], F.erase(images[b], i, j, h, w, torch.tensor(0.0)))


def test_smoothing_needs_no_rounding_of_halves() -> None:
    """No sum s makes s / 13 a whole number and a half: 2 s = 13 (2 k + 1) has an odd right-hand side."""
    assert all(math.remainder(s / 13, 1) not in (0.5, -0.5) for s in range(13 * 255 + 1))


def test_the_table_has_all_that_torchvision_chooses_from() -> None:
    assert set(NAMES) == set(TrivialAugmentWide._AUGMENTATION_SPACE) | {"Invert"}
