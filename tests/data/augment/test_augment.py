"""The whole chain: crop, mirror image, policy, normalisation, erasing, and draws that are each sample's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from retconv.data import Dataset, load
from retconv.data.augment import POLICIES, Augment, Draw, Erasing
from retconv.data.augment.operations import NAMES
from tests.compare import assert_close
from tests.data.augment.cases import oracle, pictures

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
FULL = Augment(MEAN, STD, flip=True, policy=POLICIES["trivialaugment"], erasing=Erasing(0.25))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_chain_is_that_of_torchvision(seed: int) -> None:
    """The same draws, applied by torchvision to one sample after another."""
    augment = Augment(MEAN, STD, flip=True, padding=3, policy=POLICIES["trivialaugment"], erasing=Erasing(0.5))
    images = pictures(seed, 24, 16, 16)
    draw = augment.draw(24, 16, 16, seeded(seed))
    result = augment.apply(images, draw)
    for b, image in enumerate(images):
        sample = F.crop(F.pad(image, [3]), int(draw.top[b]), int(draw.left[b]), 16, 16)
        sample = F.horizontal_flip(sample) if draw.flip[b] else sample
        for operation, magnitude in zip(draw.operations[b].tolist(), draw.magnitudes[b].tolist(), strict=True):
            sample = oracle(sample, NAMES[operation], magnitude)
        sample = F.normalize(F.to_dtype(sample, torch.float32, scale=True), list(MEAN), list(STD))
        sample = F.erase(sample, *draw.boxes[b].tolist(), torch.tensor(0.0))
        # One level of 255, which operations that blend may differ by, is 1/(255 · 0.24) after normalisation.
        assert float((result[b] - sample).abs().max()) <= 1 / (255 * 0.24) + 1e-5
        assert float(((result[b] - sample).abs() > 1e-5).float().mean()) <= 0.01


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12))
def test_a_sample_does_not_depend_on_its_companions(seed: int, count: int) -> None:
    """Bit for bit: alone, in any part of the batch, and beside the samples of another replica."""
    images = pictures(seed, 12, 9, 14)
    draws = [FULL.draw(n, 9, 14, seeded(seed + n)) for n in (count, 12 - count)]
    together = FULL.apply(images, Draw.cat(draws))
    assert torch.equal(together[:count], FULL.apply(images[:count], draws[0]))
    assert torch.equal(together[count:], FULL.apply(images[count:], draws[1]))


def test_results_follow_the_generator() -> None:
    images = pictures(0, 30, 32, 32)
    generator = seeded(5)
    first, second = (FULL(images, generator) for _ in range(2))
    assert torch.equal(first, FULL(images, seeded(5)))
    assert not torch.equal(first, second)


def test_images_are_left_as_they_were() -> None:
    images = pictures(0, 30, 32, 32)
    before = images.clone()
    FULL(images, seeded())
    assert torch.equal(images, before)


def test_nothing_random_is_normalisation_alone() -> None:
    images = pictures(0, 8, 7, 7)
    plain = Augment(MEAN, STD, flip=False, padding=0)
    assert torch.equal(plain(images, seeded()), plain.normalise(images))
    mean, std = (torch.tensor(value, dtype=torch.float64)[:, None, None] for value in (MEAN, STD))
    assert_close(plain.normalise(images), (images / 255 - mean) / std, torch.float32)


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    data = load("digits")
    inputs = Augment.of(data).normalise(data.train_images).double()
    assert float(inputs.mean().abs()) <= 1e-5
    assert float(inputs.std(correction=0)) == pytest.approx(1.0, rel=1e-5)


def test_digits_are_never_mirrored() -> None:
    data: Dataset = load("digits")
    augment = Augment.of(data, padding=1, policy=POLICIES["trivialaugment"])
    assert not augment.draw(1000, 8, 8, seeded()).flip.any()
    assert FULL.draw(1000, 8, 8, seeded()).flip.float().mean() == pytest.approx(0.5, abs=0.08)


def test_erased_pixels_have_the_mean_colour() -> None:
    """0 after normalisation, not the mean of un-normalised images."""
    augment = Augment(MEAN, STD, flip=False, padding=0, erasing=Erasing(1.0))
    images = torch.full((20, 3, 16, 16), 255, dtype=torch.uint8)
    draw = augment.draw(20, 16, 16, seeded())
    result = augment.apply(images, draw)
    zeros = (result == 0).all(dim=1).sum(dim=(1, 2))
    assert torch.equal(zeros, draw.boxes[:, 2] * draw.boxes[:, 3])
    assert int(zeros.min()) > 0
