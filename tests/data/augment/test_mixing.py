"""Mixup and CutMix of stacked batches: timm's distributions, and each batch mixed by its own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup, mixup_target

from retconv.data.augment import Mixing, soft_targets
from tests.compare import assert_close, assert_exact

SIDES = (9, 14)


def drawn(mixing: Mixing, count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    share, boxes = mixing.draw(count, *SIDES, np.random.default_rng(seed))
    return share.numpy(), boxes.numpy()


@pytest.mark.parametrize("mixing", [Mixing(0.8, 1.0, 0.7), Mixing(0.3, 0.0), Mixing(0.0, 0.5, 0.4)])
def test_shares_are_distributed_as_timms(mixing: Mixing) -> None:
    """Quantiles of λ of 20,000 draws of each, by which of the two mixes, within four standard errors of a share."""
    ours, boxes = drawn(mixing)
    cut = (boxes[:, 1] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 2])
    theirs, theirs_cut = [], []
    timm = Mixup(mixing.mixup, mixing.cutmix, prob=mixing.probability, num_classes=2)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    for _ in range(20_000):
        x = torch.zeros(2, 1, *SIDES)
        x[1] = 1.0
        theirs.append(float(timm._mix_batch(x)))
        theirs_cut.append(bool(((x == 0) | (x == 1)).all()) and theirs[-1] < 1)
    np.random.set_state(state)  # noqa: NPY002
    for a, b in ((ours[cut], np.array(theirs)[theirs_cut]), (ours[~cut], np.array(theirs)[~np.array(theirs_cut)])):
        assert len(a) == pytest.approx(len(b), abs=4 * 2**0.5 * 71)
        for quantile in (0.1, 0.25, 0.5, 0.75, 0.9) if len(b) else ():
            at = np.quantile(b, quantile)
            assert abs((a <= at + 1e-6).mean() - (b <= at + 1e-6).mean()) < 4 * (0.5 / len(b)) ** 0.5


def test_the_share_of_a_cut_is_what_its_rectangle_leaves() -> None:
    share, boxes = drawn(Mixing(0.0, 1.0), 500)
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    assert (boxes[:, [0, 2]] >= 0).all()
    assert (boxes[:, 1] <= SIDES[0]).all()
    assert (boxes[:, 3] <= SIDES[1]).all()
    np.testing.assert_allclose(share, 1 - area / (SIDES[0] * SIDES[1]), rtol=1e-6)


def test_each_batch_is_mixed_with_its_reverse_by_its_own_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 4, 2, *SIDES, generator=generator)
    share, boxes = torch.tensor([0.3, 0.75, 1.0]), torch.tensor([[0, 0, 0, 0], [2, 5, 3, 9], [0, 0, 0, 0]])
    mixed = Mixing(0.8, 1.0).apply(images, share, boxes)
    for r in range(3):
        for b in range(4):
            for i in range(SIDES[0]):
                for j in range(SIDES[1]):
                    own, other = images[r, b, :, i, j], images[r, 3 - b, :, i, j]
                    inside = r == 1 and 2 <= i < 5 and 3 <= j < 9
                    wanted = other if inside else own if r else 0.3 * own + 0.7 * other
                    assert_close(mixed[r, b, :, i, j], wanted)


def test_targets_are_timms() -> None:
    labels, share = torch.tensor([[0, 2, 1, 2], [1, 1, 0, 2]]), torch.tensor([0.3, 1.0])
    for smoothing in (0.0, 0.1):
        mixed, plain = soft_targets(labels, 3, smoothing, share), soft_targets(labels, 3, smoothing)
        for r in range(2):
            assert_close(mixed[r], mixup_target(labels[r], 3, float(share[r]), smoothing))
            assert_close(plain[r], mixup_target(labels[r], 3, smoothing=smoothing))


def test_what_is_not_mixed_keeps_its_bits() -> None:
    images = torch.randn(2, 4, 3, *SIDES)
    share, boxes = Mixing(0.8, 1.0, 0.0).draw(2, *SIDES, np.random.default_rng(0))
    assert_exact(Mixing(0.8, 1.0).apply(images, share, boxes), images)
